from __future__ import annotations

import csv
import io
import json
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from rich.console import Console

from facefake import person_sheet as person_sheet_module
from facefake import terminal, video
from facefake.detector import FakeImageDetector
from facefake.errors import ImageError
from facefake.frames import Sampling
from facefake.labels import capital_height, text_width
from facefake.person_sheet import MOST_FACES, person_sheet
from facefake.persons import Span
from facefake.reading import ImageLimits
from facefake.report import CsvTable
from facefake.results import schema
from facefake.saving import AnnotatedFolder
from facefake.scanning import scan
from facefake.sources import is_video
from facefake.video import (
    STILLS,
    VideoResult,
    _crop,
    analyze_video,
    sheets,
    without_crops,
)

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
VALIDATOR = Draft202012Validator(schema())
HALF = (192, 192)


def moving(name: str, left: float, top: float, side: float, number: int) -> np.ndarray:
    """A square part of a sample, RGB, that wanders with the number of the frame."""
    picture = Image.open(SAMPLES / name).convert("RGB")
    x, y = left + 6 * np.sin(number), top + 4 * np.cos(number)
    return np.asarray(picture.resize(HALF, Image.Resampling.BILINEAR, (x, y, x + side, y + side)))


def write(path: Path, frames: Iterator[np.ndarray], rate: float = 4) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (2 * HALF[0], HALF[1]))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def together(number: int) -> np.ndarray:
    """An astronaut on the left, a generated person on the right."""
    return np.concatenate(
        [
            moving("astronaut.jpg", 130, 20, 220, number),
            moving("ai-selfie.jpg", 60, 150, 420, number),
        ],
        axis=1,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both for two seconds, half a second of nothing, then the astronaut alone."""

    def frames() -> Iterator[np.ndarray]:
        for number in range(22):
            frame = together(number).copy()
            if 8 <= number < 10:
                frame[:] = 30
            if number >= 10:
                frame[:, HALF[0] :] = 90
            yield frame

    return write(tmp_path_factory.mktemp("clips") / "talk.avi", frames())


@pytest.fixture(scope="module")
def detector() -> Iterator[FakeImageDetector]:
    with FakeImageDetector(threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def result(detector: FakeImageDetector, clip: Path) -> VideoResult:
    return analyze_video(detector, clip)


def test_people_are_followed_and_judged(result: VideoResult) -> None:
    assert (result.width, result.height, result.frames, result.interval) == (384, 192, 11, 0.5)
    seen = [(person.seen, len(person.sightings)) for person in result.persons]
    # The astronaut comes back after the cut, and nobody recognises her.
    assert seen == [((0, 1.5), 4), ((0, 1.5), 4), ((2.5, 5), 6)]
    left, right, again = result.persons
    assert all(sighting.box[2] < HALF[0] for person in (left, again) for sighting in person.sightings)
    assert all(sighting.box[0] > HALF[0] for sighting in right.sightings)
    assert all(person.judged >= 3 and person.fake_probability is not None for person in result.persons)


def test_the_record_says_how_the_clip_was_judged(detector: FakeImageDetector, result: VideoResult) -> None:
    assert (result.settings, result.model) == (detector.settings, detector.bundle.label)


def test_what_was_left_out_is_told(clip: Path) -> None:
    with FakeImageDetector(threads=1, max_faces=1) as one:
        result = analyze_video(one, clip)
    assert result.warnings[1:] == ("some frames hold more faces than the 1 that are judged at most",)


def test_a_rest_that_the_file_does_not_tell_of_is_told(
    detector: FakeImageDetector, clip: Path, tmp_path: Path
) -> None:
    data = bytearray(clip.read_bytes())
    at = data.find(b"strh") + 40  # the stream's length, in frames
    data[at : at + 4] = (4).to_bytes(4, "little")
    (tmp_path / "short.avi").write_bytes(data)
    result = analyze_video(detector, tmp_path / "short.avi", Sampling(2, 4))
    assert (result.duration, result.frames) == (1, 4)
    assert result.warnings == (STILLS, "only the first 2 seconds were looked at")


def test_no_more_frames_are_looked_at_than_there_are(detector: FakeImageDetector, clip: Path) -> None:
    result = analyze_video(detector, clip, Sampling(frames_per_second=30))
    assert (result.frames, result.interval) == (22, 0.25)
    assert result.warnings == (STILLS,)


def test_the_verdict_is_that_of_the_frames(detector: FakeImageDetector, result: VideoResult) -> None:
    first = detector.analyze(next(_frames(result.path)))
    for face, person in zip(first.faces, result.persons[:2], strict=True):
        assert person.sightings[0].logit == pytest.approx(face.logit, abs=1e-4)
    for person in result.persons:
        logits = sorted(sighting.logit for sighting in person.sightings if sighting.logit is not None)
        assert person.logit == logits[(len(logits) - 1) // 2]


def _frames(path: str) -> Iterator[np.ndarray]:
    from facefake.frames import VideoFile

    with VideoFile(path) as video:
        for frame in video.frames(Sampling()):
            yield frame.pixels


def test_the_record_satisfies_the_schema_and_warns(result: VideoResult) -> None:
    record = result.to_dict()
    VALIDATOR.validate(record)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["media"] == "video"
    assert STILLS in record["warnings"]
    assert "stills" in STILLS or "still pictures" in STILLS
    slim = without_crops(result)
    assert all(sighting.crop is None for person in slim.persons for sighting in person.sightings)
    assert slim == result and slim.to_dict() == record
    assert len(pickle.dumps(slim)) < len(pickle.dumps(result)) / 5


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (["media"], "audio"),
        (["surprise"], 1),
        (["verdict"], "fake"),
        (["frames"], 0),
        (["warnings"], []),
        (["persons", 0, "false_alarm_rate"], None),
        (["persons", 0, "sightings"], []),
        (["persons", 0, "seen"], [1]),
        (["persons", 0, "verdict"], "not_applicable"),
    ],
)
def test_the_schema_refuses_what_contradicts_itself(
    result: VideoResult, at: list[str | int], value: object
) -> None:
    record = json.loads(json.dumps(result.to_dict()))
    place: Any = record
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    assert not VALIDATOR.is_valid(record)


def test_progress_is_told(detector: FakeImageDetector, clip: Path) -> None:
    told: list[tuple[int, int]] = []
    analyze_video(detector, clip, Sampling(2, 3), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_sampling_of_another_kind_is_refused(detector: FakeImageDetector, clip: Path) -> None:
    with pytest.raises(TypeError, match=r"expected sampling to be facefake\.frames\.Sampling or None, got 2"):
        analyze_video(detector, clip, 2)  # type: ignore[arg-type]


def test_a_clip_without_faces(detector: FakeImageDetector, tmp_path: Path) -> None:
    path = write(tmp_path / "empty.avi", (np.full((192, 384, 3), 90, np.uint8) for _ in range(6)))
    found = analyze_video(detector, path)
    assert (found.verdict, found.reason, found.persons) == ("not_applicable", "no face found", ())
    VALIDATOR.validate(found.to_dict())


def test_a_video_is_known_by_its_suffix() -> None:
    assert all(map(is_video, ("a.mp4", "b/C.MOV", Path("x.webm"), "caf\udce9.mkv")))
    assert not any(map(is_video, ("a.jpg", "mp4", "clip.mp4.jpg", ".mp4")))


def test_every_person_gets_a_sheet(result: VideoResult) -> None:
    drawn = list(sheets(result))
    assert [person.index for person, _ in drawn] == [0, 1, 2]
    for person, sheet in drawn:
        assert (sheet.mode, sheet.width) == ("RGB", 1000)
        pixels = np.asarray(sheet)
        # The faces are on it: the picture is busier where they are than a sheet without them.
        bare = replace(
            person,
            sightings=tuple(replace(s, crop=np.zeros((96, 96, 3), np.uint8)) for s in person.sightings),
        )
        assert (np.asarray(person_sheet(result, bare)) != pixels).sum() > 20_000


@pytest.mark.parametrize(
    ("box", "shares"),
    [((30.0, 20.0, 50.0, 40.0), 1.0), ((-10.0, 20.0, 10.0, 40.0), 0.5), ((90.0, 20.0, 110.0, 40.0), 0.0)],
)
def test_what_lies_beyond_the_frame_is_black_on_a_sheet(box: Any, shares: float) -> None:
    crop = _crop(np.full((60, 70, 3), 255, np.uint8), box)
    assert crop.shape == (96, 96, 3)
    assert crop.mean() / 255 == pytest.approx(shares, abs=0.02)


def test_a_sheet_holds_a_choice_of_many_faces_and_any_text(result: VideoResult) -> None:
    person = result.persons[0]
    many = tuple(replace(person.sightings[0], time=n / 2) for n in range(400))
    blurred = replace(many[0], logit=None, fake_probability=None, reason="too blurred: sharpness 0.1")
    long = replace(
        person,
        sightings=(*many, blurred),
        spans=tuple(Span(n, n + 2) for n in range(0, 100, 10)),
        verdict="uncertain",
        reason="a reason that goes on " * 20,
    )
    few = replace(person, sightings=many[:MOST_FACES])
    whole = replace(result, duration=4000.0, frames=400)
    tall = person_sheet(whole, long)
    assert tall.height < 1.4 * person_sheet(whole, few).height
    for verdict in ("fake", "real", "not_applicable"):
        judged = verdict != "not_applicable"
        odd = replace(
            long, verdict=verdict, fake_probability=0.5 if judged else None, false_alarm_rate=0.5 if judged else None
        )  # fmt: skip
        assert person_sheet(whole, odd).width == 1000


def test_a_sheet_tells_an_upper_bound_as_one(result: VideoResult, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("facefake.person_sheet._write", lambda draw, line, *_: lines.append(line))
    person_sheet(result, replace(result.persons[0], false_alarm_rate=0.995))
    assert "At most 100 % of real people look as fake." in " ".join(lines)


def test_no_text_of_a_sheet_covers_another_or_a_face(
    result: VideoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[int, int, int, int]] = []
    lines: list[str] = []

    def write(draw: Any, line: str, at: tuple[int, int], size: int, colour: Any) -> None:
        lines.append(line)
        taken.append((*at, at[0] + text_width(line, size), at[1] + capital_height(size)))

    def tile(sheet: Any, draw: Any, sighting: Any, caption: str, corner: tuple[int, int]) -> None:
        taken.append((*corner, corner[0] + 112, corner[1] + 112))
        usual(sheet, draw, sighting, caption, corner)

    usual = person_sheet_module._tile
    monkeypatch.setattr(person_sheet_module, "_write", write)
    monkeypatch.setattr(person_sheet_module, "_tile", tile)
    first = result.persons[0].sightings[0]
    many = tuple(replace(first, time=n / 2) for n in range(100))
    person = replace(result.persons[0], sightings=many, spans=(Span(0, 9),))
    sheet = person_sheet(replace(result, duration=50.0), person)
    assert len(taken) > 3 * MOST_FACES
    for one, other in combinations(taken, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert all(0 <= x0 < x1 <= sheet.width and 0 <= y0 < y1 <= sheet.height for x0, y0, x1, y1 in taken)
    (key,) = (line for line in lines if line.startswith("dots"))
    assert key.endswith("lighter: while the person is seen; brown: looks fake")


@pytest.mark.parametrize("duration", [3, 60, 660, 3600, 40_000])
def test_no_two_times_below_a_chart_overlap(
    result: VideoResult, monkeypatch: pytest.MonkeyPatch, duration: float
) -> None:
    written: list[tuple[int, int, str]] = []
    monkeypatch.setattr(
        "facefake.person_sheet._write", lambda draw, line, at, *_: written.append((at[1], at[0], line))
    )
    # Without faces, below which there are times as well.
    person = replace(
        result.persons[0], sightings=tuple(replace(s, crop=None) for s in result.persons[0].sightings)
    )
    person_sheet(replace(result, duration=float(duration)), person)
    times = sorted(each for each in written if re.fullmatch(r"\d+(:\d\d)+(\.\d)?", each[2]))
    assert len(times) > 5
    assert all(x + text_width(line, 14) < after for (_, x, line), (_, after, _) in pairwise(times))


def test_only_so_many_sheets_are_drawn_and_those_of_the_fakest(
    result: VideoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "MOST_SHEETS", 2)
    people = tuple(
        replace(person, fake_probability=chance)
        for person, chance in zip(result.persons, (0.3, None, 0.9), strict=True)
    )
    assert [person.index for person, _ in sheets(replace(result, persons=people))] == [0, 2]
    in_part = replace(people[0], fake_probability=0.1, spans=(Span(0, 2),))
    crowd = (in_part, replace(people[1], fake_probability=0.5), people[2])
    assert [person.index for person, _ in sheets(replace(result, persons=crowd))] == [0, 2]


def test_the_terminal_shows_it(result: VideoResult) -> None:
    suspect = replace(
        result.persons[0], verdict="uncertain", reason="because\x1b[2J", spans=(Span(0, 1), Span(65, 70))
    )
    console = Console(file=io.StringIO(), width=120, markup=False, emoji=False, highlight=False)
    console.print(
        terminal.video(replace(result, persons=(suspect, *result.persons[1:])), "a\x1b[31m.avi", 120)
    )
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "384 × 192 pixels, 0:06, 11 frames looked at" in text
    assert "Person 1: looks fake from 0:00 to 0:01, 1:05 to 1:10; because" in text
    assert "\x1b" not in text
    assert STILLS[:40] in text
    console = Console(file=io.StringIO(), width=120)
    console.print(terminal.video(result, "a.avi", 120, ascii_only=True))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "384 x 192 pixels" in text
    assert " <= " in text
    assert not set(text) & set("×≤▲○–")


@pytest.fixture(scope="module")
def scanned(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any], Path]:
    """A folder with a picture, a clip and a broken clip, scanned without worker processes."""
    folder, out = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out")
    (folder / "clip.avi").symlink_to(clip)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    (folder / "photo.jpg").symlink_to(SAMPLES / "astronaut.jpg")
    copies: list[Any] = []
    records = list(
        scan(
            folder,
            workers=0,
            annotate=AnnotatedFolder(out),
            sampling=Sampling(1, 5),
            copied=copies.append,
        )
    )
    return records, copies, out


def test_a_folder_scan_takes_videos_too(scanned: tuple[list[Any], list[Any], Path]) -> None:
    broken, clip, photo = scanned[0]
    assert (broken.kind, type(broken).__name__) == ("corrupt", "ErrorResult")
    assert isinstance(clip, VideoResult) and clip.frames == 5
    assert clip.sampling == Sampling(1, 5)
    assert clip.file is not None and clip.file.size > 0
    assert photo.faces
    for record in scanned[0]:
        VALIDATOR.validate(record.to_dict())


def test_the_sheets_are_the_videos_annotated_copies(scanned: tuple[list[Any], list[Any], Path]) -> None:
    records, copies, out = scanned
    people = len(records[1].persons)
    names = [f"clip-annotated-person-{number + 1}.jpg" for number in range(people)]
    assert [copy.name for copy in copies] == [*names, "photo-annotated.jpg"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "photo-annotated.jpg"])
    with Image.open(out / names[0]) as sheet:
        assert sheet.width == 1000


def test_the_table_has_a_row_a_person(scanned: tuple[list[Any], list[Any], Path], tmp_path: Path) -> None:
    with CsvTable(tmp_path / "t.csv") as file:
        for record in scanned[0]:
            file.write(record)
    rows = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8-sig")))
    clip = scanned[0][1]
    mine = [row for row in rows if row["path"].endswith("clip.avi")]
    assert [row["face"] for row in mine] == [str(person.number) for person in clip.persons]
    assert {row["picture_verdict"] for row in mine} == {clip.verdict}
    assert len(rows) == len(mine) + 2


def test_a_clip_that_cannot_be_read_says_why(detector: FakeImageDetector, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.mp4: expected a file"):
        analyze_video(detector, tmp_path / "gone.mp4")


def test_what_a_detectors_pictures_may_measure_its_clips_may(clip: Path) -> None:
    strict = FakeImageDetector(threads=1, limits=ImageLimits(max_pixels=1000))
    with strict, pytest.raises(ImageError, match="at most 1,000 pixels") as caught:
        analyze_video(strict, clip)
    assert (caught.value.path, caught.value.kind) == (str(clip), "too_large")
