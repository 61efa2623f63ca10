"""The HTML report as a file, and in a browser: those tests need Chromium and the extra `browser`."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefake import html_report, thumbnails
from facefake.alignment import crop_corners
from facefake.calibration import Lack
from facefake.errors import OutputError, RecordError
from facefake.html_report import write_html
from facefake.reading import ImageLimits
from facefake.report_entries import _placed
from facefake.report_summary import BINS, Tally
from facefake.results import OUTLIER, ContentState, ErrorResult, FaceResult, FileState, ImageResult, Verdict
from facefake.sources import file_state
from facefake.thumbnails import MOST_BYTES, SIDE
from facefake.tiles import Face

HOSTILE = [
    "<img src=x onerror=document.title='hacked'>.png",
    "\"quotes' & <b>bold.png",
    "right\u202eto-left.png",
    "new\nline.png",
    "a</script><script>document.title='hacked'</script>.png",
    "${document.title='hacked'}.png",
]
EVIDENCE = np.zeros((5, 5), np.float32)
EVIDENCE[0, 0] = 6


def judged_face(index: int, verdict: Verdict, probability: float, **more: Any) -> FaceResult:
    left = 10.0 + 60 * index
    eyes = ((left + 12, 40.0), (left + 28, 40.0))
    judged = verdict != "not_applicable"
    made = FaceResult(
        index=index,
        box=(left, 20.0, left + 40, 60.0),
        keypoints=(*eyes, *[(left + 20, 45.0)] * 4),
        detection_score=0.9,
        verdict=verdict,
        fake_probability=probability if judged else None,
        false_alarm_rate=round(1 - probability, 6) if judged else None,
        reason={"uncertain": "between", "not_applicable": "too small: 9 pixels"}.get(verdict),
        logit=2 * probability - 1 if judged else None,
        evidence=EVIDENCE if judged else None,
    )
    return replace(made, **more)


def picture(path: Path | str, *faces: FaceResult) -> ImageResult:
    """A result for a picture, which is made if the path is absolute."""
    width = 320
    if os.path.isabs(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((100, width, 3), 120, np.uint8)).save(path, "PNG")
        status = os.stat(path)
        file = FileState(status.st_size, status.st_mtime_ns)
    else:
        file = None
    whole = next(
        (v for v in ("fake", "uncertain", "real") if any(f.verdict == v for f in faces)), "not_applicable"
    )
    numbers = (None, None) if whole == "not_applicable" else (0.5, 0.5)
    reason = None if whole in ("fake", "real") else "because"
    return ImageResult(
        os.fspath(path), width, 100, whole, *numbers, reason, faces, ("odd",), "stand-in 1", crop_margin=1.25, file=file
    )  # fmt: skip


def four_kinds(folder: Path) -> list[ImageResult | ErrorResult]:
    """Five faces in two pictures, a picture without a face, and a failure."""
    first = [
        judged_face(0, "fake", 0.98, relative_score=OUTLIER + 1, sharpness=0.7, grain=0.25),
        judged_face(1, "real", 0.1, relative_score=-0.5),
        judged_face(2, "uncertain", 0.6, relative_score=0.5),
    ]
    second = [
        judged_face(0, "not_applicable", 0),
        judged_face(1, "real", 0.2, box=(70.0, 20.0, 170.0, 120.0)),
    ]
    return [
        picture(folder / "b.png", *first),
        picture(folder / "a10.png", *second),
        picture(folder / "landscape.png"),
        ErrorResult("broken.png", "truncated", "broken.png: expected a whole file, got half of one"),
    ]


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Path]:
    """Makes a report of records, results or dictionaries."""

    def make(*records: Any, **options: Any) -> Path:
        lines = [json.dumps(each if isinstance(each, dict) else each.to_dict()) + "\n" for each in records]
        (tmp_path / "results.jsonl").write_text("".join(lines))
        write_html(tmp_path / "results.jsonl", tmp_path / "report.html", **options)
        return tmp_path / "report.html"

    return make


def entries(page: Path) -> list[dict[str, Any]]:
    """What the page's script is told of each record."""
    found = re.findall(r'<script type="application/json" class="record">(.*?)</script>', page.read_text())
    return [json.loads(text) for text in found]


# The file


def test_the_summary_counts_pictures_faces_and_failures(report: Callable[..., Path], tmp_path: Path) -> None:
    text = report(*four_kinds(tmp_path)).read_text()
    assert (
        "3 pictures with 5 faces. 1 face in 1 picture looks fake. 1 face is uncertain. "
        "1 face could not be judged. 1 file or folder could not be analysed." in text
    )
    rows = re.findall(r'data-verdict="(\w+)"><i.*?</th><td>(\d*)</td><td>(\d*)</td>', text)
    assert rows == [
        ("fake", "1", "1"),
        ("uncertain", "0", "1"),
        ("real", "1", "2"),
        ("not_applicable", "1", "1"),
        ("error", "1", ""),
    ]
    assert "Faces by fake probability. 10 to 15 %: 1; 20 to 25 %: 1; 60 to 65 %: 1; 95 to 100 %: 1" in text


def test_a_picture_that_was_looked_at_again_counts_once(report: Callable[..., Path], tmp_path: Path) -> None:
    first, second, *_ = four_kinds(tmp_path)
    before = replace(second, faces=(judged_face(0, "fake", 0.9),), verdict="fake")
    retried = ErrorResult(first.path, "timeout", "too slow")
    page = report(retried, before, first, second)
    assert (
        "2 pictures with 5 faces. 1 face in 1 picture looks fake. 1 face is uncertain. 1 face could not be judged.</p>"
        in page.read_text()
    )
    assert [(entry["name"], len(entry["faces"])) for entry in entries(page)] == [
        (first.path, 3),
        (second.path, 2),
    ]


def test_nothing_is_loaded_and_only_its_own_script_may_run(
    report: Callable[..., Path], tmp_path: Path
) -> None:
    text = report(*four_kinds(tmp_path)).read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", rules[kind])
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []
    assert "://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text)


@pytest.mark.parametrize(("count", "told"), [(3, "m-0, m-1, m-2"), (5, "m-0, m-1, m-2 and 2 more")])
def test_more_models_than_are_named_are_counted(count: int, told: str, report: Callable[..., Path]) -> None:
    records = [replace(picture(f"{number}.jpg"), model=f"m-{number}") for number in range(count)]
    assert f"judged by <bdi>{told}</bdi>." in report(*records).read_text()


def test_a_certain_fake_is_in_the_last_bin() -> None:
    tally = Tally()
    face = judged_face(0, "fake", 1.0)
    list(tally.counting([picture("a.png", face).to_dict()]))
    assert tally.histogram == {("fake", BINS - 1): 1}


def test_evidence_is_placed_on_the_crop_of_a_rolled_face() -> None:
    face = judged_face(0, "fake", 0.9)
    face = replace(face, keypoints=((22.0, 35.0), (38.0, 45.0), *face.keypoints[2:]))
    a, b, c, d, e, f = map(float, _placed(face, 1.25).split())
    corners = crop_corners(Face(face.box, face.keypoints, face.detection_score), 1.25)
    placed = [(a * x + c * y + e, b * x + d * y + f) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    np.testing.assert_allclose(placed, corners, atol=0.05)
    assert abs(b) > 10  # so b and c are told apart


def test_the_page_is_told_what_each_verdict_rests_on(report: Callable[..., Path], tmp_path: Path) -> None:
    rather = judged_face(3, "uncertain", 0.7, reason="rather fake than real (70 %), but 9 % of real faces")
    large = judged_face(4, "real", 0.2, evidence=np.ones((40, 40), np.float32))
    unjudged = judged_face(0, "not_applicable", 0)
    faces = [judged_face(1, "fake", 0.9), judged_face(2, "uncertain", 0.6), rather, large, unjudged]
    (entry,) = entries(report(picture(tmp_path / "a.png", *faces)))
    told = {face["index"]: face for face in entry["faces"]}
    assert {index: (face["reason"], face["cause"]) for index, face in told.items()} == {
        0: ("too small: 9 pixels", "too small"),
        1: (None, ""),
        2: ("between", "between the limits"),
        3: (rather.reason, "rather fake, but so are many real faces"),
        4: (None, ""),
    }
    assert told[0]["logit"] is None
    assert [told[index]["logit"] for index in range(1, 5)] == pytest.approx([0.8, 0.2, 0.4, -0.6])
    assert (told[1]["evidence"][0][:2], len(told[1]["evidence"])) == ([6, 0], 5)
    assert (told[0]["evidence"], told[0]["crop"]) == (None, None)
    assert told[4]["evidence"] == [[1.0] * 16] * 16


def test_the_name_of_the_records_becomes_no_markup(tmp_path: Path) -> None:
    records = tmp_path / "<b>r.jsonl"
    records.write_text(json.dumps(picture("a.png").to_dict()) + "\n")
    write_html(records, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<b>" not in text and "&lt;b&gt;r.jsonl" in text


def test_failed_videos_are_counted_as_videos(report: Callable[..., Path]) -> None:
    failed = [ErrorResult(name, "timeout", f"{name}: too slow") for name in ("a.png", "b.mp4", "c.MOV")]
    text = report(*failed).read_text()
    assert "3 files or folders could not be analysed." in text
    assert re.findall(r'data-verdict="error"><i.*?</th>(.*?)</tr>', text) == ["<td>1</td><td>2</td><td></td>"]


def test_the_same_records_give_the_same_page(report: Callable[..., Path], tmp_path: Path) -> None:
    records = four_kinds(tmp_path)
    assert report(*records).read_bytes() == report(*records, force=True).read_bytes()


def test_an_existing_page_is_kept_unless_forced(report: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("precious")
    with pytest.raises(OutputError, match="expected a new file"):
        report(*four_kinds(tmp_path))
    assert (tmp_path / "report.html").read_text() == "precious"
    assert "precious" not in report(*four_kinds(tmp_path), force=True).read_text()


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (["faces", 0, "verdict"], "maybe"),
        (["faces", 0, "lack"], "small"),
        (["faces", 0, "verdict"], []),
        (["faces", 0, "fake_probability"], "high"),
        (["faces", 0, "fake_probability"], float("nan")),
        (["faces", 0, "box"], [1, 2, "3", None]),
        (["faces", 0, "keypoints"], 7),
        (["faces", 0, "evidence"], [[1.0], [1.0, 2.0]]),
        (["summary"], 7),
        (["width"], None),
        (["model"], 5),
        (["model"], None),
    ],
)
def test_a_record_with_a_wrong_field_is_named_and_nothing_is_left_behind(
    report: Callable[..., Path], tmp_path: Path, at: list[Any], value: object
) -> None:
    good, wrong = (each.to_dict() for each in four_kinds(tmp_path)[:2])
    place = wrong = json.loads(json.dumps(picture("x.png", judged_face(0, "fake", 0.9)).to_dict()))
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RecordError, match=r"record 2: expected the fields of a record|line 2: expected"):
        report(good, wrong)
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "results.jsonl"])


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 0], [9, 9, 5, 5], [-1e300, 0, 1e300, 50], [1e9, 1e9, 1e9 + 50, 1e9 + 50]]
)
def test_a_face_that_is_nowhere_has_no_thumbnail(
    report: Callable[..., Path], tmp_path: Path, box: list[float]
) -> None:
    record = picture(tmp_path / "x.png", judged_face(0, "fake", 0.9), judged_face(1, "real", 0.1)).to_dict()
    record["faces"][0]["box"] = box
    text = report(record).read_text()
    assert 'id="face-0-0"' not in text
    assert 'id="face-0-1"' in text


def test_a_picture_that_is_gone_or_changed_says_so_and_its_record_stays(
    report: Callable[..., Path], tmp_path: Path
) -> None:
    names = ("gone.png", "touched.png", "replaced.png", "kept.png")
    records = [picture(tmp_path / name, judged_face(0, "fake", 0.9)) for name in names]
    (tmp_path / "gone.png").unlink()
    os.utime(tmp_path / "touched.png", ns=(1, 1))
    Image.new("RGB", (50, 50)).save(tmp_path / "replaced.png")
    replaced = replace(records[2], file=None)  # as older records, which do not know the file's state
    os.utime(tmp_path / "kept.png", (13_569_465_600, 13_569_465_600))  # in the year 2400
    kept = replace(records[3], file=file_state(str(tmp_path / "kept.png")))
    page = report(records[0], records[1], replaced, kept)
    told = [entry["gone"] for entry in entries(page)]
    assert "cannot be read any more" in told[0]
    assert told[1:] == [
        "The file has changed since it was judged.",
        "The file does not hold the picture that was judged.",
        None,
    ]
    assert [entry["faces"][0]["probability_text"] for entry in entries(page)] == ["90 %"] * 4
    assert re.findall(r'id="face-(\d)-0"', page.read_text()) == ["3"]


def test_what_a_scan_allowed_a_report_shows(
    report: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ImageLimits(max_bytes=10, max_pixels=10, max_side=10)
    monkeypatch.setattr(thumbnails, "ImageLimits", partial(replace, small))
    record = picture(tmp_path / "x.png", judged_face(0, "fake", 0.9))
    stateless = replace(record, file=None)
    stored = replace(record, path="s3://bucket/x.png")
    of_bytes = replace(record, file=ContentState(3, 0, "0" * 64))
    told = [entries(report(each, force=True))[0]["gone"] for each in (record, stateless, stored, of_bytes)]
    assert told[0] is None
    assert "at most 10 bytes" in told[1]
    assert "given by a URI" in told[2]
    assert "did not come from a file" in told[3]


def test_file_names_that_are_no_text_are_found_again(report: Callable[..., Path], tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    page = report(picture(path, judged_face(0, "fake", 0.9)))
    assert 'id="face-0-0"' in page.read_text()
    assert entries(page)[0]["name"].endswith("caf\\udce9.png")


def test_only_the_most_suspicious_faces_are_shown_and_fewer_have_thumbnails(
    report: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_report, "MOST_FACES", 3)
    monkeypatch.setattr(html_report, "MOST_THUMBNAILS", 1)
    page = report(*four_kinds(tmp_path))
    shown = [(entry["name"][-5:], [face["index"] for face in entry["faces"]]) for entry in entries(page)[:2]]
    assert shown == [("b.png", [0, 2]), ("0.png", [1])]
    assert re.findall(r'id="(face-[\d-]+|picture-\d+)"', page.read_text()) == ["face-0-0", "picture-0"]
    assert "3 most suspicious of 5 faces" in page.read_text()


def test_the_small_pictures_share_the_room_there_is(
    report: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (100, 320, 3), np.uint8)
    records = [picture(tmp_path / f"{number}.png", judged_face(0, "fake", 0.9)) for number in range(4)]
    for number in range(4):
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    records = [replace(record, file=None) for record in records]
    sizes = []
    for room in (4 << 20, 40_000, 400):
        monkeypatch.setattr(html_report, "_PICTURE_ROOM", room)
        found = re.findall(r'id="picture-\d">([^<]*)<', report(*records, force=True).read_text())
        sizes.append(sum(len(text) for text in found) * 3 // 4)
        assert sizes[-1] <= room
    assert sizes[0] > sizes[1] > sizes[2] == 0


def test_a_strip_has_a_small_picture_too(report: Callable[..., Path], tmp_path: Path) -> None:
    record = replace(
        picture(tmp_path / "x.png", judged_face(0, "fake", 0.9)), width=4000, height=2, file=None
    )
    Image.new("RGB", (4000, 2)).save(tmp_path / "x.png")
    (text,) = re.findall(r'id="picture-\d">([^<]+)<', report(record).read_text())
    assert Image.open(io.BytesIO(base64.b64decode(text))).height == 1


def test_thumbnails_of_grainy_faces_are_bounded_and_those_of_others_whole(
    report: Callable[..., Path], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 320, 3)).astype(np.uint8)
    records = [picture(tmp_path / f"{name}.png", judged_face(0, "fake", 0.9)) for name in ("plain", "noise")]
    Image.fromarray(noise).save(tmp_path / "noise.png")
    text = report(*(replace(record, file=None) for record in records)).read_text()
    plain, grainy = (base64.b64decode(found) for found in re.findall(r'id="face-\d-0">([^<]*)<', text))
    assert Image.open(io.BytesIO(plain)).width == SIDE
    assert Image.open(io.BytesIO(grainy)).width < SIDE
    assert len(grainy) <= MOST_BYTES


def test_metadata_of_the_pictures_is_not_passed_on(report: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    record = picture(path, judged_face(0, "fake", 0.9))
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    Image.open(path).save(path, exif=exif)
    assert b"a secret place" in path.read_bytes()
    text = report(replace(record, file=None)).read_text()
    images = [base64.b64decode(found) for found in re.findall(r'type="text/plain" id="[^"]*">([^<]*)<', text)]
    assert len(images) == 2
    assert not any(b"secret" in image or b"EXIF" in image for image in images)


def test_videos_have_a_row(report: Callable[..., Path], tmp_path: Path) -> None:
    video = {**picture("clip.mp4").to_dict(), "media": "video", "persons": [], "summary": "Two people."}
    del video["faces"]
    page = report(video, *four_kinds(tmp_path))
    assert "3 pictures with 5 faces, 1 video. 1 face in 1 picture looks fake." in page.read_text()
    assert [(entry["kind"], entry["summary"]) for entry in entries(page)[:1]] == [("video", "Two people.")]


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (("fake", "real"), "1 picture with 1 face, 2 videos. 1 video looks fake."),
        (("fake", "fake"), "1 picture with 1 face, 2 videos. 2 videos look fake."),
        (("uncertain", "real"), "1 picture with 1 face, 2 videos. No face looks fake. 1 video is uncertain."),
        (
            ("not_applicable", "real"),
            "1 picture with 1 face, 2 videos. No face looks fake. 1 video could not be judged.",
        ),
    ],
)
def test_the_summary_counts_videos(verdicts: tuple[str, ...], told: str, report: Callable[..., Path]) -> None:
    whole = picture("a.jpg", judged_face(0, "real", 0.1)).to_dict()
    clips = [{**whole, "media": "video", "persons": [], "verdict": verdict} for verdict in verdicts]
    for number, clip in enumerate(clips):
        clip["path"] = f"{number}.mp4"
        del clip["faces"]
    text = report(whole, *clips).read_text()
    assert told in text
    rows = re.findall(r'data-verdict="(\w+)"><i.*?</th><td>(\d*)</td><td>(\d*)</td><td>(\d*)</td>', text)
    assert {verdict: int(videos) for verdict, _, videos, _ in rows if int(videos)} == Counter(verdicts)


def clip_record(name: str, verdict: str) -> dict[str, Any]:
    record = {**picture(name).to_dict(), "media": "video", "persons": [], "verdict": verdict}
    del record["faces"]
    return record


def test_videos_alone_are_not_told_as_no_pictures(report: Callable[..., Path]) -> None:
    text = report(*(clip_record(f"{verdict}.mp4", verdict) for verdict in ("uncertain", "real"))).read_text()
    assert '<p class="sentence">2 videos. No face looks fake. 1 video is uncertain.</p>' in text
    assert "No face of a picture was judged." in text


def test_nobody_in_a_video_who_was_not_judged_is_told_not_to_look_fake(report: Callable[..., Path]) -> None:
    text = report(clip_record("a.mp4", "not_applicable")).read_text()
    assert '<p class="sentence">1 video. 1 video could not be judged.</p>' in text


# In a browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs the extra: pip install '.[browser]'"
    )
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        launched.close()


@dataclass
class Window:
    """Opens reports, and keeps what a page should not do."""

    browser: Any
    complaints: list[str] = field(default_factory=list)

    def open(self, page: Path, **settings: Any) -> Any:
        context = self.browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **settings})
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("console", lambda message: self.complaints.append(message.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: self.complaints.append("a dialog"))
        tab.on("request", lambda request: self._note(request.url))
        tab.goto(page.as_uri())
        tab.locator(".card, .nothing").first.wait_for()
        return tab

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.complaints.append(url)


@pytest.fixture
def window(browser: Any) -> Iterator[Window]:
    """After each test the page must have logged nothing, failed nowhere and asked the network for nothing."""
    opened = Window(browser)
    yield opened
    for context in browser.contexts:
        context.close()
    assert opened.complaints == []


def names(tab: Any) -> list[str]:
    """What the cards say, such as "#1 of b.png"."""
    return tab.locator(".card .name").all_text_contents()


def test_faces_are_sorted(report: Callable[..., Path], tmp_path: Path, window: Window) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    fake, uncertain, large, real, unjudged = (
        "#1 of b.png",
        "#3 of b.png",
        "#2 of a10.png",
        "#2 of b.png",
        "#1 of a10.png",
    )
    assert names(tab) == [fake, uncertain, large, real, unjudged]
    expected = {
        "probability": [fake, uncertain, large, real, unjudged],
        "relative": [fake, uncertain, real, unjudged, large],
        "verdict": [fake, uncertain, real, large, unjudged],
        "reason": [uncertain, unjudged, fake, real, large],
        "size": [large, fake, real, uncertain, unjudged],
        "name": [unjudged, large, fake, real, uncertain],
    }
    for key, order in expected.items():
        tab.select_option("#sort", key)
        assert names(tab) == order, key
    tab.select_option("#sort", "probability")
    tab.click("#direction")
    assert names(tab) == [real, large, uncertain, fake, unjudged]  # what has no number stays last


def test_a_card_says_what_its_numbers_are(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    lines = {card.split("\n")[-1]: card.split("\n") for card in tab.locator(".card").all_inner_texts()}
    assert lines["#2 of b.png"][-4:-1] == [
        "fake probability 10 %",
        "false-alarm rate 90 %",
        "relative score -0.5",
    ]
    assert lines["#2 of a10.png"][-3:-1] == ["fake probability 20 %", "false-alarm rate 80 %"]
    assert lines["#1 of a10.png"][-2] == "too small"


def test_faces_are_filtered(report: Callable[..., Path], tmp_path: Path, window: Window) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    status = tab.locator("#status")
    assert status.inner_text() == "5 faces"

    def after(*changes: tuple[str, str]) -> list[str]:
        for field_id, value in changes:
            if field_id == "reason":
                tab.select_option("#reason", value)
            else:
                tab.fill(f"#{field_id}", value)
                tab.press(f"#{field_id}", "Enter")
        tab.wait_for_timeout(200)  # typing is waited for
        found = names(tab)
        tab.click("#reset")
        status.get_by_text("5 faces", exact=True).wait_for()
        return found

    tab.click("#more summary")
    assert after(("name", "A10")) == ["#2 of a10.png", "#1 of a10.png"]
    assert after(("low", "50")) == ["#1 of b.png", "#3 of b.png"]
    assert after(("low", "15"), ("high", "70")) == ["#3 of b.png", "#2 of a10.png"]
    assert after(("most", "2")) == ["#1 of b.png"]
    assert after(("relative", "0")) == ["#1 of b.png", "#3 of b.png"]
    assert after(("size", "50")) == ["#2 of a10.png"]
    assert after(("reason", "too small")) == ["#1 of a10.png"]
    assert after(("name", "nowhere")) == []
    tab.get_by_role("button", name="real 2").click()
    assert names(tab) == ["#1 of b.png", "#3 of b.png", "#1 of a10.png"]
    assert status.inner_text() == "3 of 5 faces"


def test_names_are_found_however_their_accents_are_spelled(
    report: Callable[..., Path], window: Window
) -> None:
    pictures = [picture(f"{name}.jpg", judged_face(0, "real", 0.1)) for name in ("cafe\u0301", "other")]
    tab = window.open(report(*pictures))
    tab.fill("#name", "caf\u00e9")
    tab.press("#name", "Enter")
    tab.locator("#status").get_by_text("1 of 2 faces", exact=True).wait_for()


def test_the_keyboard_reaches_everything(report: Callable[..., Path], tmp_path: Path, window: Window) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))

    def focused() -> str:
        return str(
            tab.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.id")
        )

    tab.focus("#reset")
    tab.keyboard.press("Tab")
    assert focused().startswith(
        "Face 1 of b.png: fake; 98 % probability of being fake; false-alarm rate 2 %; stands out"
    )
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("End")
    tab.keyboard.press("ArrowLeft")
    assert focused().startswith("Face 2 of b.png: real")
    tab.keyboard.press("Home")
    tab.keyboard.press("Enter")
    heading, detail = tab.locator("#detail-heading"), tab.locator("#detail")
    assert detail.is_visible()
    assert heading.inner_text() == "Face 1 of b.png"
    assert focused() == "Close"
    tab.keyboard.press("ArrowLeft")
    assert heading.inner_text() == "Face 1 of b.png"
    tab.keyboard.press("ArrowRight")
    assert heading.inner_text() == "Face 3 of b.png"
    tab.keyboard.press("ArrowRight")
    assert heading.inner_text() == "Face 2 of a10.png"
    tab.keyboard.press("Escape")
    assert not detail.is_visible()
    assert focused().startswith("Face 2 of a10.png")


def test_what_follows_on_closing_at_once_is_kept(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    first = tab.locator(".card").first
    first.click()
    tab.click("#next")
    # In one task of the page: its own event of the closing has not been told yet.
    focused, reopened = first.evaluate(
        """card => {
          document.getElementById("close").click();
          const focused = document.activeElement.getAttribute("aria-label");
          card.click();
          return [focused, document.querySelectorAll("#facts dl").length];
        }"""
    )
    assert focused.startswith("Face 3 of b.png")
    assert reopened == 1
    tab.wait_for_timeout(200)  # told now
    assert tab.locator("#detail-heading").inner_text() == "Face 1 of b.png"
    assert tab.locator("#facts dl").count() == 1
    assert tab.locator("#detail").is_visible()


def test_the_first_click_after_typing_counts(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    tab.type("#name", "b.p")
    tab.wait_for_timeout(300)  # typing is waited for
    tab.locator(".card").first.click()
    assert tab.locator("#detail").is_visible()


def test_the_arrow_keys_go_on_after_anything_was_pressed(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    heading = tab.locator("#detail-heading")
    tab.locator(".card").first.click()
    tab.focus("#overlay")
    tab.keyboard.press("Enter")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert heading.inner_text() == "Face 2 of a10.png"
    tab.focus(".siblings-face")
    tab.keyboard.press("Enter")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")
    assert "disabled" not in tab.locator("#next").evaluate("node => node.outerHTML")
    for _ in range(5):
        tab.locator("#next").evaluate("node => node.focus() ?? node.click()")
    assert tab.locator("#next").is_disabled()
    last = heading.inner_text()
    tab.keyboard.press("ArrowLeft")
    assert heading.inner_text() != last
    assert tab.evaluate("document.activeElement.closest('dialog') !== null")


def test_marking_text_does_not_close_the_dialog(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    tab.locator(".card").first.click()
    start, end = (tab.locator(which).bounding_box() for which in ("#detail-heading", "#facts dl"))
    tab.mouse.move(start["x"] + 5, start["y"] + 5)
    tab.mouse.down()
    tab.mouse.move(end["x"] + 20, end["y"] + 10, steps=4)
    tab.mouse.up()
    assert tab.locator("#detail").is_visible()
    tab.mouse.click(3, 450)  # beside it
    assert not tab.locator("#detail").is_visible()


@pytest.mark.parametrize(("lack", "words"), [("soft", "out of focus"), ("grainless", "without grain")])
def test_the_dialog_says_what_a_face_without_detail_is_compared_with(
    lack: Lack, words: str, report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(picture(tmp_path / "a.png", judged_face(0, "real", 0.25, lack=lack))))
    tab.locator(".card").first.click()
    assert f"75 % of real faces {words} look at least as fake" in tab.locator("#facts").inner_text()


def test_a_record_that_tells_half_of_the_detail_has_its_dialog(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(picture(tmp_path / "a.png", judged_face(0, "real", 0.25, sharpness=0.7))))
    tab.locator(".card").first.click()
    assert "40 × 40 pixels" in tab.locator("#facts").inner_text()


@pytest.mark.parametrize(
    ("verdict", "words"), [("real", "as the model saw it"), ("not_applicable", "cut out, not judged")]
)
def test_the_dialog_does_not_say_that_the_model_saw_a_face_that_was_not_judged(
    verdict: Verdict, words: str, report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(picture(tmp_path / "a.png", judged_face(0, verdict, 0.25))))
    tab.locator(".card").first.click()
    assert tab.locator("#facts figcaption").first.inner_text() == words


def test_the_dialog_shows_the_picture_with_its_boxes(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    tab.locator(".card").first.click()
    assert tab.get_by_alt_text("The picture").evaluate("image => image.naturalWidth") == 320
    assert tab.locator("#picture svg g").count() == 3
    facts = tab.locator("#facts").inner_text() + tab.locator("#whole").inner_text()
    for told in (
        "98 %",
        "2 % of real faces with as much or as little fine detail look at least as fake",
        "sharpness 0.70, grain 0.25",
        "stands out",
        "40 × 40 pixels",
        "320 × 100 pixels",
        "odd",
    ):
        assert told in facts
    tab.get_by_role("button", name="Face 2, real").click()
    assert tab.locator("#detail-heading").inner_text() == "Face 2 of b.png"
    box = tab.locator("#picture svg .box").first.bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert tab.locator("#detail-heading").inner_text() == "Face 1 of b.png"
    assert tab.locator("#picture svg image").count() == 0
    tab.click("#overlay")
    assert tab.locator("#picture svg image").count() == 3
    tab.click("#close")
    assert not tab.locator("#detail").is_visible()


def test_evidence_lies_over_a_face_when_somebody_looks(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)), reduced_motion="reduce")
    card = tab.locator(".card").first
    canvas = card.locator("canvas")
    assert canvas.count() == 0
    card.hover()
    assert canvas.evaluate("node => getComputedStyle(node).opacity") == "1"
    pixels = np.reshape(
        canvas.evaluate("node => [...node.getContext('2d').getImageData(0, 0, 48, 48).data]"), (48, 48, 4)
    )
    red, _, blue, strong = pixels[3, 3]
    assert red > blue + 100  # yellow, where the map speaks for a fake
    assert strong > 150
    assert pixels[40, 40, 3] == 0
    tab.click("#evidence")
    tab.locator(".card canvas").nth(3).wait_for()
    assert tab.locator(".card canvas").count() == 4  # the face that was not judged has none
    assert tab.locator(".card canvas").nth(3).evaluate("node => getComputedStyle(node).opacity") == "1"


def test_hostile_texts_are_shown_and_do_nothing(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    records: list[Any] = []
    for number, name in enumerate(HOSTILE):
        face = judged_face(0, "uncertain", 0.6 - number / 100, reason=f"rather {name}")
        path = name if "/" in name else tmp_path / name
        records.append(replace(picture(path, face), warnings=(name,), model=name))
        records.append(ErrorResult(f"failed {name}", name, f"{name}: expected"))
        records.append(picture(f"faceless {name}"))
    tab = window.open(report(*records))
    assert tab.title() == "facefake: results.jsonl"
    shown = [name.replace("\u202e", "\\u202e").replace("\n", "\\n") for name in HOSTILE]
    assert names(tab) == [f"#1 of {name.rpartition('/')[2]}" for name in shown]
    for place, name in enumerate(shown):
        tab.locator(".card").nth(place).click()
        facts = tab.locator("#facts").inner_text() + tab.locator("#whole").inner_text()
        assert facts.count(name) == 4  # reason, file, notes, model
        tab.keyboard.press("Escape")
    for section in ("failures", "faceless"):
        tab.click(f"#{section} summary")
        tab.locator(f"#{section} tbody tr").last.wait_for()
        text = tab.locator(f"#{section}").inner_text()
        assert [name for name in shown if name not in text] == []
    assert tab.locator("main img[src='x'], main b").count() == 0
    assert tab.title() == "facefake: results.jsonl"


def test_failures_and_pictures_without_a_face_are_listed(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    assert tab.locator("#failures summary").inner_text() == "What could not be analysed (1)"
    tab.click("#failures summary")
    row = tab.locator("#failures tbody tr").inner_text()
    assert row.split("\t") == [
        "broken.png",
        "truncated",
        "broken.png: expected a whole file, got half of one",
    ]
    tab.click("#faceless summary")
    assert "landscape.png" in tab.locator("#faceless tbody").inner_text()
    assert tab.locator("#videos").is_hidden()


def test_notes_on_a_picture_without_a_face_are_listed(report: Callable[..., Path], window: Window) -> None:
    noted = replace(picture("moving.gif"), warnings=("only the first was read",))
    tab = window.open(report(noted))
    tab.click("#faceless summary")
    assert "only the first was read" in tab.locator("#faceless tbody").inner_text()


def test_a_single_face_is_one(report: Callable[..., Path], tmp_path: Path, window: Window) -> None:
    tab = window.open(report(picture(tmp_path / "a.png", judged_face(0, "fake", 0.9))))
    assert tab.locator("#status").inner_text() == "1 face"
    tab.locator(".card").click()
    told = tab.locator("#picture img").get_attribute("alt")
    assert told == f"The picture {tmp_path / 'a.png'} with its 1 face marked"
    tab.keyboard.press("Escape")
    tab.fill("#name", "b")
    tab.get_by_text("0 of 1 face", exact=True).wait_for()


def test_without_faces_in_pictures_there_is_nothing_to_filter(
    report: Callable[..., Path], window: Window
) -> None:
    tab = window.open(report(clip_record("a.mp4", "real")))
    assert tab.locator("#gallery").inner_text() == "No faces were found in pictures."
    assert not tab.locator("#controls").is_visible()


def test_a_picture_that_is_gone_has_a_placeholder(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(picture("nowhere.png", judged_face(0, "fake", 0.9))))
    assert "cannot be read any more" in tab.locator(".card").inner_text()
    tab.locator(".card").click()
    assert "cannot be read any more" in tab.locator("#picture").inner_text()
    assert "90 %" in tab.locator("#facts").inner_text()


def test_cards_are_made_as_one_scrolls(report: Callable[..., Path], tmp_path: Path, window: Window) -> None:
    faces = [judged_face(index, "real", 0.2, box=(1.0, 1.0, 50.0, 50.0)) for index in range(300)]
    tab = window.open(report(picture("many.png", *faces)))
    first = tab.locator(".card").count()
    assert 20 <= first <= 240
    tab.locator(".card").last.scroll_into_view_if_needed()
    tab.locator(".card").nth(first + 5).wait_for(state="attached")
    tab.locator(".card").first.focus()
    tab.keyboard.press("End")
    assert tab.locator(".card").count() == 300
    assert names(tab)[-1] == "#300 of many.png"


def test_paper_holds_every_face_and_says_how_many_were_left_out(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    faces = [judged_face(index, "real", 0.2, box=(1.0, 1.0, 50.0, 50.0)) for index in range(200)]
    tab = window.open(report(picture(tmp_path / "many.png", *faces), *four_kinds(tmp_path)))
    tab.fill("#name", "many")
    tab.press("#name", "Enter")
    tab.locator("#status").get_by_text("200 of 205 faces", exact=True).wait_for()
    tab.click("#evidence")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator(".card").count() == tab.locator(".card canvas").count() == 200
    assert tab.locator("#status").is_visible()
    assert not tab.locator("#name").is_visible()


def test_what_is_printed_is_dark_on_white_whatever_the_screen(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)), color_scheme="dark")
    ink = "getComputedStyle(document.body).color"
    assert tab.evaluate(ink) == "rgb(233, 236, 240)"
    tab.emulate_media(media="print")
    assert tab.evaluate(ink) == "rgb(21, 24, 28)"


@pytest.mark.parametrize("width", [500, 700])
def test_an_open_dialog_is_printed_whole_and_alone(
    report: Callable[..., Path], tmp_path: Path, window: Window, width: int
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)), viewport={"width": width, "height": 300})
    tab.locator(".card").first.click()
    tab.emulate_media(media="print")
    assert not tab.locator("header").is_visible()
    assert not tab.locator("#gallery").is_visible()
    style = "getComputedStyle(document.getElementById('detail'))"
    assert tab.evaluate(f"[{style}.position, {style}.overflowY]") == ["absolute", "visible"]
    top, bottom = tab.evaluate(
        "((box) => [box.top + scrollY, box.bottom + scrollY])(detail.getBoundingClientRect())"
    )
    assert top == 0 and bottom > 400


def test_sentences_in_a_table_have_room_on_a_phone(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    failure = ErrorResult("a.png", "odd", "some words of a reason " * 7)
    page = report(failure, *four_kinds(tmp_path))
    tab = window.open(page, viewport={"width": 390, "height": 700}, is_mobile=True, has_touch=True)
    tab.locator("#failures summary").click()
    row = tab.locator("#failures tbody tr").first.bounding_box()
    assert row["height"] < 170


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_sideways_scrolling(
    report: Callable[..., Path], tmp_path: Path, window: Window, width: int
) -> None:
    long = picture(tmp_path / ("long" * 40 + ".png"), judged_face(0, "fake", 0.9))
    page = report(long, *four_kinds(tmp_path), ErrorResult("x" * 300, "odd", "y" * 300))
    tab = window.open(page, viewport={"width": width, "height": 700}, is_mobile=True, has_touch=True)
    wide = "Math.max(document.documentElement.scrollWidth, document.querySelector('#detail').scrollWidth)"
    for section in ("#more", "#failures"):
        tab.tap(f"{section} summary")
    assert tab.evaluate(wide) <= width
    for place in (0, 1):
        tab.locator(".card").nth(place).tap()
        assert tab.evaluate(wide) <= width
        tab.tap("#close")
    sizes = [node.bounding_box() for node in tab.locator("button:visible").all()]
    assert min(min(size["width"], size["height"]) for size in sizes) >= 24  # WCAG 2.2, target size


CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = (node) => {
    for (; node; node = node.parentElement) {
      const colour = channels(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((node) => node.checkVisibility() && !(node instanceof SVGElement) && !node.disabled)
    .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
    .map((node) => {
      const [a, b] = [light(channels(getComputedStyle(node).color)), light(paper(node))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), node.tagName + " " + node.textContent.slice(0, 40)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_asks_for(
    report: Callable[..., Path], tmp_path: Path, window: Window, scheme: str
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)), color_scheme=scheme)
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (scheme == "dark")
    tab.get_by_role("button", name="real 2").click()
    for section in ("#more", "#failures", "#faceless"):
        tab.click(f"{section} summary")
    tab.locator(".card").first.click()
    found = tab.evaluate(CONTRASTS)
    assert len(found) > 60
    assert [(round(ratio, 2), what) for ratio, what in found if ratio < 4.5] == []


def test_forced_colours_show_what_is_switched_on(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)), forced_colors="active")
    background = "getComputedStyle(document.getElementById('evidence')).backgroundColor"
    before = tab.evaluate(background)
    tab.click("#evidence")
    assert tab.evaluate(background) != before


def test_the_page_can_be_read_by_its_structure(
    report: Callable[..., Path], tmp_path: Path, window: Window
) -> None:
    tab = window.open(report(*four_kinds(tmp_path)))
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert tab.evaluate("[...document.querySelectorAll('h1, h2')].map((h) => h.tagName)")[:3] == [
        "H1",
        "H2",
        "H2",
    ]
    tab.locator(".card").first.click()
    # Who goes on to the next face stays on the button, and would not hear of it.
    assert tab.locator("#detail-heading").get_attribute("aria-live") == "polite"
    unnamed = """() => [...document.querySelectorAll("button, input, select, img")]
      .filter((node) => node.checkVisibility() && !node.getAttribute("aria-label") && !node.textContent.trim())
      .filter((node) => !node.labels?.length && !node.hasAttribute("alt"))
      .map((node) => node.outerHTML)"""
    assert tab.evaluate(unnamed) == []
    assert tab.evaluate("[...document.querySelectorAll('#detail img')].every((image) => image.alt)")
