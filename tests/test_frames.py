from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facefake.decoder import Decoder
from facefake.errors import ImageError
from facefake.frames import Sampling, VideoFile
from facefake.reading import ImageLimits

WIDE, HIGH = 64, 48
Clip = Callable[..., Path]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A clip whose frames grow brighter with their number; the upper half is red, the lower half blue."""
    folder = tmp_path_factory.mktemp("clips")

    def written(name: str = "a.avi", codec: str = "MJPG", rate: float = 10, frames: int = 30) -> Path:
        path = folder / f"{codec}-{rate}-{frames}-{name}"
        if not path.exists():
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (WIDE, HIGH))
            assert writer.isOpened()
            for number in range(frames):
                frame = np.zeros((HIGH, WIDE, 3), np.uint8)
                frame[: HIGH // 2, :, 2] = frame[HIGH // 2 :, :, 0] = 40 + 200 * number // frames
                writer.write(frame)
            writer.release()
        return path

    return written


def times(path: Path, *sampling: float) -> list[float]:
    with VideoFile(path) as video:
        return [round(frame.time, 3) for frame in video.frames(Sampling(*sampling))]  # type: ignore[arg-type]


def refused(path: Path | str, limits: ImageLimits | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught, VideoFile(path, limits) as video:
        list(video.frames(Sampling()))
    return caught.value


@pytest.mark.parametrize(
    ("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("a.mkv", "VP90"), ("a.webm", "VP80")]
)  # fmt: skip
def test_every_container_gives_the_frames_that_were_asked_for(clip: Clip, name: str, codec: str) -> None:
    path = clip(name, codec)
    with VideoFile(path) as video:
        assert (video.path, video.width, video.height) == (str(path), WIDE, HIGH)
        assert (video.rate, video.duration) == (10, pytest.approx(3, abs=0.11))
        frames = list(video.frames(Sampling()))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5], abs=0.02)
    red = [int(frame.pixels[8, 8, 0]) for frame in frames]
    assert red == sorted(red) and red[-1] - red[0] > 120  # each is another one, in order
    assert frames[-1].pixels.shape == (HIGH, WIDE, 3) and frames[-1].pixels.dtype == np.uint8
    assert frames[-1].pixels[-8, 8, 2] > 150 > frames[-1].pixels[-8, 8, 0]  # RGB, not BGR


def test_a_long_clip_is_thinned_evenly(clip: Clip) -> None:
    assert times(clip(), 30, 4) == [0, 0.7, 1.5, 2.2]
    assert times(clip(), 30, 1) == [0]
    assert times(clip(), 1) == [0, 1, 2]
    assert len(times(clip(), 1000)) == 30


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_frames_far_apart_are_sought(clip: Clip, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grabbed, usual = [], Decoder._grabbed
    monkeypatch.setattr(Decoder, "_grabbed", lambda self: grabbed.append(1) or usual(self))
    path = clip(name, "MJPG" if name == "a.avi" else "mp4v", rate=1, frames=60)
    assert times(path, 2, 5) == [0, 12, 24, 36, 48]
    assert len(grabbed) < 30  # and not all of those between


def test_no_more_frames_are_gone_through_than_the_longest_video_has(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facefake.decoder._MOST_GRABS", 3)
    with open(clip(), "rb") as file:
        decoder = Decoder(file.fileno())
        assert [decoder.step() for _ in range(5)] == [True, True, True, False, False]
        decoder.close()


def test_a_frame_that_cannot_be_decoded_is_told(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = cv2.VideoCapture

    class Undecodable:
        def __init__(self, *given: Any) -> None:
            self._capture = usual(*given)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._capture, name)

        def retrieve(self) -> tuple[bool, None]:
            return False, None

    monkeypatch.setattr(cv2, "VideoCapture", Undecodable)
    error = refused(clip())
    assert (error.kind, error.got) == ("corrupt", "none at 0.0 seconds")


def slowed(data: bytes, times: int) -> bytes:
    """A Matroska file whose frames lie so many times further apart, though it says as many a second as before."""
    at = data.index(b"\x2a\xd7\xb1\x83") + 4
    return data[:at] + (1_000_000 * times).to_bytes(3) + data[at + 3 :]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_nothing_is_passed_over_where_frames_lie_unevenly(clip: Clip, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(slowed(clip(name, "VP80", frames=300).read_bytes(), 5))
    # So many frames further by the rate that the file tells would be far beyond the next that is wanted, or its end.
    assert times(path, 2, 30) == pytest.approx(range(0, 150, 5), abs=0.02)
    assert times(path, 0.02) == pytest.approx([0, 50, 100], abs=0.02)


def paused(data: bytes, after: int, milliseconds: int) -> bytes:
    """A Matroska file whose clusters from a time on, in milliseconds, come so much later."""
    changed = bytearray(data)
    for cluster in re.finditer(rb"\x1f\x43\xb6\x75.{1,8}?\xe7([\x81-\x84])", data, re.DOTALL):
        width = cluster[1][0] & 7
        place = slice(cluster.end(), cluster.end() + width)
        if (time := int.from_bytes(changed[place])) >= after:
            changed[place] = (time + milliseconds).to_bytes(width)
    place = slice(data.find(b"\x44\x89\x88") + 3, data.find(b"\x44\x89\x88") + 11)
    changed[place] = struct.pack(">d", struct.unpack(">d", changed[place])[0] + milliseconds)
    return bytes(changed)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_nothing_is_passed_over_around_a_pause(clip: Clip, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(paused(clip(name, "VP80", frames=400).read_bytes(), 15_000, 20_000))
    assert times(path, 0.1) == pytest.approx([0, 10, 35.3, 40, 50], abs=0.1)


@given(st.floats(0.1, 60), st.integers(1, 40))
def test_the_promised_number_and_spacing_hold_whatever_is_asked_for(
    clip: Clip, rate: float, most: int
) -> None:
    found = times(clip(), rate, most)
    interval = max(1 / rate, 3 / most)
    assert 1 <= len(found) <= most
    assert all(later - earlier > interval - 0.11 for earlier, later in pairwise(found))
    assert 3 - found[-1] <= interval + 0.11


def test_rotation_is_applied(clip: Clip, tmp_path: Path) -> None:
    data = bytearray(clip("a.mp4", "mp4v").read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40  # of version 0
    assert struct.unpack(">9i", data[matrix : matrix + 36])[0] == 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, HIGH << 16, 0, 1 << 30)
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    with VideoFile(path) as video:
        assert (video.width, video.height) == (HIGH, WIDE)
        last = list(video.frames(Sampling()))[-1].pixels
    assert last.shape == (WIDE, HIGH, 3)
    assert last[30, -8, 0] > 150 > last[30, -8, 2]  # what was above is on the right


@pytest.mark.parametrize(
    ("wider", "width", "height"), [(2, 2 * WIDE, HIGH), (0.5, WIDE, 2 * HIGH), (1.01, WIDE, HIGH), (9, WIDE, HIGH)]
)  # fmt: skip
def test_frames_are_as_wide_as_they_are_shown(
    clip: Clip, tmp_path: Path, wider: float, width: int, height: int
) -> None:
    data = bytearray(clip("a.mp4", "mp4v").read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40  # of version 0
    data[matrix : matrix + 4] = struct.pack(">i", round(wider * (1 << 16)))
    path = tmp_path / "wide.mp4"
    path.write_bytes(data)
    with VideoFile(path) as video:
        assert (video.width, video.height) == (width, height)
        assert next(video.frames(Sampling())).pixels.shape == (height, width, 3)
    assert refused(path, ImageLimits(max_side=max(width, height) - 1)).kind == "too_large"


@pytest.mark.parametrize(
    ("content", "kind", "told"),
    [
        (b"", "empty", "a video, got an empty file"),
        (b"#EXTM3U\n/etc/passwd\n", "unsupported", "begins with b'#EXTM3U"),
        (b"ffconcat version 1.0\nfile a.avi\n", "unsupported", "a video in MP4, QuickTime, Matroska, WebM or AVI"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "unsupported", "a video in"),
        (b"\0\0\0\x18ftypmp42" + bytes(2000), "corrupt", "FFmpeg can open"),
        (b"\x1a\x45\xdf\xa3" + bytes(2000), "corrupt", "FFmpeg can open"),
        (b"RIFF\xff\xff\xff\x7fAVI " + bytes(2000), "corrupt", ""),
    ],
)  # fmt: skip
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes, kind: str, told: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    error = refused(path)
    assert (error.kind, error.path) == (kind, str(path))
    assert told in str(error)


def test_a_video_with_sound_alone_is_told_that_it_holds_no_picture(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    path.write_bytes(clip("a.mp4", "mp4v").read_bytes().replace(b"vide", b"soun"))
    assert refused(path).got == "one that it cannot, or that holds no picture"


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of an MP4 file."""
    whole = b"".join(content)
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def test_a_cover_beside_sound_is_called_one(clip: Clip, tmp_path: Path) -> None:
    data = clip("a.mp4", "mp4v").read_bytes()
    at = data.index(b"moov") - 4
    end = at + struct.unpack_from(">I", data, at)[0]
    jpeg = cv2.imencode(".jpg", np.full((90, 90, 3), 200, np.uint8))[1].tobytes()
    cover = box(b"ilst", box(b"covr", box(b"data", struct.pack(">II", 13, 0), jpeg)))
    told = box(b"udta", box(b"meta", bytes(4), box(b"hdlr", bytes(8), b"mdirappl", bytes(9)), cover))
    path = tmp_path / "song.mp4"
    for tracks, sound in ((data[at + 8 : end], False), (data[at + 8 : end].replace(b"vide", b"soun"), True)):
        path.write_bytes(data[:at] + box(b"moov", tracks, told) + data[end:])
        if sound:
            assert refused(path).got == "90000, as of a sound file with a cover and no video"
        else:
            assert len(times(path)) == 6


def test_what_is_no_file_is_refused_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    assert refused(tmp_path / "fifo.mp4").kind == "not_a_file"
    assert refused(tmp_path).kind == "not_a_file"
    assert refused(tmp_path / "missing.mp4").kind == "not_found"
    assert refused("http://127.0.0.1:9/clip.mp4").kind == "not_found"
    assert refused("nul\0.mp4").kind == "unreadable"


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_a_clip_that_was_cut_is_refused(clip: Clip, tmp_path: Path, share: float) -> None:
    data = clip(frames=60).read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(data[: int(share * len(data))])
    error = refused(path)
    assert error.kind == "truncated"
    assert error.expected == "a video of 6.0 seconds"


def test_absurd_headers_are_refused(clip: Clip, tmp_path: Path) -> None:
    good = clip().read_bytes()
    path = tmp_path / "odd.avi"

    def patched(*changes: tuple[bytes, int, int]) -> ImageError:
        data = bytearray(good)
        for mark, offset, value in changes:
            at = data.find(mark) + offset
            data[at : at + 4] = struct.pack("<I", value)
        path.write_bytes(data)
        return refused(path)

    # The stream header's scale and rate, whose quotient are the frames a second.
    assert patched((b"strh", 28, 1), (b"strh", 32, 100_000)).got == "100000"
    assert patched((b"strh", 28, 1_000_000), (b"strh", 32, 1)).got == "30,000,000"
    large = refused(clip(), ImageLimits(max_side=50))
    assert (large.expected, large.got) == ("at most 150,000,000 pixels and 50 along a side", "64 × 48 pixels")
    assert refused(clip(), ImageLimits(max_pixels=50)).kind == "too_large"


def test_a_clip_that_does_not_say_how_long_it_is_is_counted(clip: Clip, tmp_path: Path) -> None:
    data = bytearray(clip("a.webm", "VP80").read_bytes())
    at = data.find(b"\x44\x89")  # Matroska's Duration, of which the name is made unknown
    assert at > 0
    data[at : at + 2] = b"\x44\x8a"
    path = tmp_path / "live.webm"
    path.write_bytes(data)
    with VideoFile(path) as video:
        assert video.duration == pytest.approx(3, abs=0.11)
        assert len(list(video.frames(Sampling()))) == 6


def test_a_clip_that_goes_on_after_its_end_is_told_from_one_that_does_not(clip: Clip, tmp_path: Path) -> None:
    data = bytearray(clip(frames=60).read_bytes())
    at = data.find(b"strh") + 40  # the stream's length
    assert data[at : at + 4] == struct.pack("<I", 60)
    data[at : at + 4] = struct.pack("<I", 20)
    path = tmp_path / "short.avi"
    path.write_bytes(data)
    for name, most, left in ((path, 3, True), (path, 300, False), (clip(frames=60), 3, False)):
        with VideoFile(name) as video:
            assert video.duration == (2 if name == path else 6)
            list(video.frames(Sampling(2, most)))
            assert (video.overran, video.ended) == (left, most == 300)


def test_a_clip_without_frames_is_not_called_too_long(clip: Clip) -> None:
    error = refused(clip(frames=0))
    assert (error.kind, error.expected) == ("corrupt", "at least one frame")


def test_a_want_of_memory_is_not_laid_to_the_file(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(shape: int, *_: Any) -> None:
        assert shape >= 64 << 20
        raise MemoryError

    cut = tmp_path / "cut.avi"
    whole = clip(frames=60).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    none = tmp_path / "none.mp4"
    none.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(2000))
    for path, kind in ((clip(frames=0), "corrupt"), (cut, "truncated"), (none, "corrupt")):
        assert refused(path).kind == kind
        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", too_much)
            error = refused(path)
        assert (error.kind, type(error.__cause__)) == ("too_large", MemoryError)


def test_an_avi_file_that_was_streamed_is_counted(clip: Clip, tmp_path: Path) -> None:
    data = bytearray(clip().read_bytes())
    at = data.find(b"strh") + 40  # the stream's length
    data[at : at + 4] = struct.pack("<I", 1 << 30)
    path = tmp_path / "streamed.avi"
    path.write_bytes(data[: data.find(b"idx1")])
    with VideoFile(path) as video:
        assert video.duration == pytest.approx(3)
        assert len(list(video.frames(Sampling()))) == 6


@pytest.mark.parametrize("codec", ["MJPG", "mp4v"])
def test_an_avi_file_with_a_hole_is_not_sought_in(clip: Clip, tmp_path: Path, codec: str) -> None:
    whole = clip("a.avi", codec, frames=600).read_bytes()
    third = len(whole) // 3
    path = tmp_path / "hole.avi"
    path.write_bytes(whole[:third] + bytes(third) + whole[2 * third :])
    for sampling in (Sampling(2, 300), Sampling(2, 10)):
        with VideoFile(path) as video, pytest.raises(ImageError) as caught:
            list(video.frames(sampling))
        assert (caught.value.kind, caught.value.expected) == ("truncated", "a video of 60.0 seconds")
    path.write_bytes(whole + b"what follows is not its own")
    assert len(times(path, 2, 10)) == 10


def longer(data: bytes, milliseconds: float) -> bytes:
    """A Matroska file that says it ends later, as it does of sound that goes on and of times that begin late."""
    at = data.index(b"\x44\x89\x88") + 3
    return data[:at] + struct.pack(">d", milliseconds) + data[at + 8 :]


def test_a_matroska_file_may_end_later_than_its_pictures_but_not_be_cut(clip: Clip, tmp_path: Path) -> None:
    path = tmp_path / "sound.webm"
    whole = longer(clip("a.webm", "VP80", frames=100).read_bytes(), 20_000)
    for rest in (b"", b"what follows is not its own"):
        path.write_bytes(whole + rest)
        with VideoFile(path) as video:
            assert video.duration == 20
            assert len(list(video.frames(Sampling()))) == 20
            assert video.ended
    half = len(whole) // 2
    for broken in (whole[:half], whole[:half] + bytes(len(whole) - half), whole[:-1]):
        path.write_bytes(broken)
        assert refused(path).kind == "truncated"


def test_a_matroska_file_of_which_the_middle_is_damaged_is_refused(clip: Clip, tmp_path: Path) -> None:
    whole = clip("a.webm", "VP80", frames=300).read_bytes()
    third = len(whole) // 3
    path = tmp_path / "hole.webm"
    path.write_bytes(whole[:third] + bytes(third) + whole[2 * third :])
    with pytest.raises(
        ImageError, match=r"expected frames throughout, got none from [\d.]+ to [\d.]+ seconds"
    ) as caught:
        times(path)
    assert caught.value.kind == "corrupt"
    path.write_bytes(slowed(whole, 16))  # where only the frames lie far apart nothing is wrong
    assert len(times(path)) == 300


@pytest.mark.parametrize("name", ["caf\udce9.avi", "-rf.avi", "%d.avi", "file:x.avi", "a b\n.avi"])
def test_no_name_means_anything(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.link(clip(), os.fsencode(name))
    with VideoFile(name) as video:
        assert (video.path, video.duration) == (name, 3)


def test_files_are_closed_again(clip: Clip, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    for _ in range(3):
        times(clip())
        refused(tmp_path / "bad.mp4")
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_is_written_to_standard_error_and_the_environment_stays(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(clip("a.mp4", "mp4v").read_bytes()[:900])
    code = (
        "import os, cv2; from facefake.errors import ImageError; from facefake.frames import *\n"
        "before = dict(os.environ)\n"
        f"for path in ({str(tmp_path / 'bad.mp4')!r}, {str(clip())!r}):\n"
        "    try:\n        with VideoFile(path) as v: print(len(list(v.frames(Sampling()))))\n"
        "    except ImageError as error: print(error.kind)\n"
        "assert dict(os.environ) == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["corrupt", "6"]
    assert done.stderr == ""


def test_other_threads_see_no_change_of_the_environment(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies it while a name comes and goes gets a KeyError."""
    before = dict(os.environ)
    seen: list[dict[str, str]] = []
    usual = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *given: seen.append(dict(os.environ)) or usual(*given))
    with VideoFile(clip()):
        assert seen == [before]


@pytest.mark.parametrize("own", [{}, {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "threads;1"}])
def test_processes_that_are_started_later_have_the_environment_of_before(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, own: dict[str, str]
) -> None:
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with VideoFile(clip()):
        inherited = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in inherited if line.startswith("OPENCV_FFMPEG")] == [
        f"{n}={v}" for n, v in own.items()
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_waits_for_no_thread_that_opens_a_video(clip: Clip) -> None:
    code = """
import os, signal, sys, threading, time, cv2
from facefake.frames import VideoFile
begun, usual = threading.Event(), cv2.VideoCapture
def open_slowly(*given):
    begun.set()
    time.sleep(0.3)
    return usual(*given)
cv2.VideoCapture = open_slowly
threading.Thread(target=lambda: VideoFile(sys.argv[1]).close()).start()
begun.wait()
if not (child := os.fork()):
    signal.alarm(10)
    VideoFile(sys.argv[1]).close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", code, str(clip())], timeout=120, check=True)


def test_a_closed_video_says_so(clip: Clip) -> None:
    with VideoFile(clip()) as video:
        frames = video.frames(Sampling())
        next(frames)
    with open(clip(), "rb"):  # has the number that the other one had
        for given in (frames, video.frames(Sampling())):
            with pytest.raises(ValueError, match="closed"):
                next(given)


@pytest.mark.parametrize(("name", "codec"), [("cut.mp4", "mp4v"), ("cut.mkv", "VP80"), ("cut.avi", "MJPG")])
def test_a_video_that_is_cut_while_it_is_read_is_not_whole(tmp_path: Path, name: str, codec: str) -> None:
    path, rng = tmp_path / name, np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (320, 240))
    for _ in range(40):
        writer.write(rng.integers(0, 256, (240, 320, 3), np.uint8))  # more than is read ahead
    writer.release()
    with VideoFile(path) as video:
        frames = video.frames(Sampling())
        next(frames)
        os.truncate(path, path.stat().st_size // 4)
        with pytest.raises(ImageError) as caught:
            list(frames)
    assert caught.value.kind == "truncated"
    assert not video.ended


@pytest.mark.parametrize(
    "wrong", [(0.0, 3), (-1.0, 3), (float("nan"), 3), (float("inf"), 3), (10**400, 3), (1e-310, 3), (1.0, 0)]
)
def test_a_sampling_must_be_one(wrong: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Sampling(*wrong)


@pytest.mark.parametrize("wrong", [("2", 3), (None, 3), (True, 3), (2.0, 3.0)])
def test_a_sampling_is_of_numbers(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"expected .* to be a (whole )?number, got"):
        Sampling(*wrong)


def test_a_sampling_in_numpys_numbers_is_the_same() -> None:
    numpy = Sampling(np.float32(2), np.int64(3))  # type: ignore[arg-type]
    assert json.dumps(asdict(numpy)) == json.dumps(asdict(Sampling(2.0, 3)))


def held(data: bytes, seconds: int) -> bytes:
    """An MP4 file of one track whose last picture is shown for so long, as in slide shows."""
    places: dict[bytes, tuple[int, int, list[int]]] = {}

    def walk(start: int, end: int, parents: list[int]) -> None:
        while start + 8 <= end:
            size, kind = struct.unpack_from(">I4s", data, start)
            places[kind] = start, size, parents
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"):
                walk(start + 8, start + size, [*parents, start])
            start += size

    walk(0, len(data), [])
    assert places[b"moov"][0] > places[b"mdat"][0]  # or the places of the frames would move
    at, size, parents = places[b"stts"]
    count, delta = struct.unpack_from(">II", data, at + 16)
    scale = struct.unpack_from(">I", data, places[b"mdhd"][0] + 20)[0]
    changed = bytearray(data)
    for kind, offset, of_movie in (
        (b"mdhd", 24, False),
        (b"mvhd", 24, True),
        (b"tkhd", 28, True),
        (b"elst", 16, True),
    ):
        if kind in places:
            unit = struct.unpack_from(">I", data, places[b"mvhd"][0] + 20)[0] if of_movie else scale
            whole = (delta * (count - 1) + seconds * scale) * unit // scale
            struct.pack_into(">I", changed, places[kind][0] + offset, whole)
    table = struct.pack(">I4s6I", 32, b"stts", 0, 2, count - 1, delta, 1, seconds * scale)
    for parent in parents:
        struct.pack_into(
            ">I", changed, parent, struct.unpack_from(">I", changed, parent)[0] + len(table) - size
        )
    changed[at : at + size] = table
    return bytes(changed)


def test_a_last_picture_that_is_held_is_no_missing_end(clip: Clip, tmp_path: Path) -> None:
    whole = held(clip("held.mp4", "mp4v").read_bytes(), 20)
    path = tmp_path / "held.mp4"
    path.write_bytes(whole)
    with VideoFile(path) as video:
        assert video.duration > 20
        frames = list(video.frames(Sampling()))
        assert video.ended
    assert frames[-1].time > 2
    # Its index promises frames that do not come.
    start = whole.index(b"mdat") + 4
    path.write_bytes(
        whole[: start + 600]
        + bytes(len(whole[start + 600 : whole.index(b"moov") - 4]))
        + whole[whole.index(b"moov") - 4 :]
    )
    assert refused(path).kind in ("truncated", "corrupt")
