from __future__ import annotations

import csv
from pathlib import Path

import pytest

from facefake.errors import DatasetError
from facefake.training.dataset import read_dataset

COLUMNS = ["path", "label", "kind", "source", "group", "split"]
ROWS = [["b.jpg", "fake", "gan", "s1", "g2", "val"], ["a.jpg", "real", "photo", "s2", "g1", "train"]]


def write(folder: Path, rows: list[list[str]], columns: list[str] = COLUMNS, encoding: str = "utf-8") -> Path:
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"")
    with (folder / "manifest.csv").open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([columns, *rows])
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_manifest_is_read_in_the_order_of_the_paths(tmp_path, encoding):
    first, second = read_dataset(write(tmp_path, ROWS, encoding=encoding))
    assert (first.path, first.label, first.kind) == (tmp_path / "a.jpg", "real", "photo")
    assert (second.source, second.group, second.split) == ("s1", "g2", "val")


def test_a_row_without_a_group_is_one_of_its_own(tmp_path):
    first, second = read_dataset(write(tmp_path, [[*row[:4], "", row[5]] for row in ROWS]))
    assert (first.group, second.group) == ("a.jpg", "b.jpg")


def test_further_columns_and_blank_lines_are_of_no_account(tmp_path):
    rows = [[*row, "CC0", "", ""] for row in ROWS]
    assert len(read_dataset(write(tmp_path, [[], *rows, []], [*COLUMNS, "licence", "", ""]))) == 2


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (ROWS, [*COLUMNS[:-1], "part"], "split missing"),
        ([[*row, "fake"] for row in ROWS], [*COLUMNS, "label"], r"csv: .* column once, got label 2 times"),
        ([["a.jpg", "true", "x", "s", "g", "val"]], COLUMNS, "line 2: expected the label"),
        ([*ROWS, ["a.jpg", "real", "x", "s", "g", "test"]], COLUMNS, "line 4: expected the split"),
        ([*ROWS, ["c.jpg", "real", "x", "s", "g", "val"]], COLUMNS, r"c\.jpg, found none"),
        ([*ROWS, ["c" * 300, "real", "x", "s", "g", "val"]], COLUMNS, "ccc, found none"),
        ([*ROWS, ["a.jpg", "real", "x"]], COLUMNS, r"manifest\.csv, line 4: expected 6 values, got 3$"),
        ([ROWS[0], [*ROWS[1], ""]], COLUMNS, r"manifest\.csv, line 3: expected 6 values, got 7$"),
        (ROWS, [*COLUMNS, "licence", ""], "line 2: expected 8 values, got 6$"),
        ([*ROWS, ["real", "val"]], ["label", "split", *COLUMNS[:1], *COLUMNS[2:5]], "expected the label"),
        ([["b.jpg", "real", "x", "s", "g1", "val"], ROWS[1]], COLUMNS, "group 'g1' in both"),
        ([*ROWS, ["./a.jpg", "fake", "x", "s", "g3", "val"]], COLUMNS, r"line 4: .*a\.jpg of line 3 again"),
        ([], COLUMNS, "none that is real"),
        (ROWS[:1], COLUMNS, "none that is real"),
        (ROWS[1:], COLUMNS, "none that is fake"),
    ],
)
def test_a_wrong_manifest_is_told_by_line(tmp_path, rows, columns, message):
    with pytest.raises(DatasetError, match=message):
        read_dataset(write(tmp_path, rows, columns))


def test_a_row_without_its_path_is_told(tmp_path):
    columns = ["label", "split", "kind", "source", "group", "path"]
    with pytest.raises(DatasetError, match="line 2: expected 6 values"):
        read_dataset(write(tmp_path, [["real", "val", "photo"]], columns))


@pytest.mark.parametrize("content", [b"path,label,kind,source,group,split\n\xff\xfe,real", b"\x00\xff"])
def test_a_manifest_that_is_no_csv_is_told(tmp_path, content):
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(DatasetError, match="manifest"):
        read_dataset(tmp_path)


def test_folders_name_the_label_and_the_source(tmp_path):
    for name in (
        "real/a.jpg",
        "real/flickr/b.PNG",
        "fake/c.webp",
        "fake/gan-x/deep/d.jpeg",
        "fake/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = {e.path.name: (e.label, e.kind, e.source) for e in read_dataset(tmp_path)}
    assert found == {
        "a.jpg": ("real", "photo", "real"),
        "b.PNG": ("real", "photo", "flickr"),
        "c.webp": ("fake", "fake", "fake"),
        "d.jpeg": ("fake", "fake", "gan-x"),
    }


@pytest.mark.parametrize(
    ("count", "least", "most"), [(600, 0.35, 0.45), (2_600, 0.18, 0.22), (5_100, 0.09, 0.11)]
)
def test_a_share_of_the_files_is_kept_for_validation_whatever_else_there_is(tmp_path, count, least, most):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "0.jpg").touch()
    (tmp_path / "real").mkdir()
    for number in range(count):
        (tmp_path / "real" / f"{number}.jpg").touch()
    before = {e.path: e.split for e in read_dataset(tmp_path) if e.label == "real"}
    share = list(before.values()).count("val") / count
    assert least < share < most
    for number in range(count, count + 300):
        (tmp_path / "real" / f"{number}.jpg").touch()
    (tmp_path / "real" / "0.jpg").unlink()
    after = {e.path: e.split for e in read_dataset(tmp_path)}
    # Nothing that an earlier run was trained on is unseen now.
    assert all(after[path] == "train" for path, split in before.items() if path in after and split == "train")


@pytest.mark.parametrize("count", [1_250, 2_500, 5_000])
def test_a_picture_less_moves_hardly_another_one(tmp_path, count):
    for label, number in (("fake", 1), ("real", count)):
        (tmp_path / label).mkdir()
        for name in range(number):
            (tmp_path / label / f"{name}.jpg").touch()
    before = {e.path: e.split for e in read_dataset(tmp_path)}
    (tmp_path / "real" / "7.jpg").unlink()
    after = {e.path: e.split for e in read_dataset(tmp_path)}
    assert sum(before[path] != split for path, split in after.items()) <= 3


def test_what_a_scan_would_take_is_taken(tmp_path):
    for name in (
        "real/a.HEIC",
        "real/b.jfif",
        "real/.hidden.jpg",
        "real/clip.mp4",
        "fake/c.gif",
        "more/d.mpo",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "fake" / "linked").symlink_to(tmp_path / "more")
    found = {e.path.relative_to(tmp_path).as_posix(): e.source for e in read_dataset(tmp_path)}
    assert found == {
        "real/a.HEIC": "real",
        "real/b.jfif": "real",
        "fake/c.gif": "fake",
        "fake/linked/d.mpo": "linked",
    }


def test_a_folder_of_neither_form_or_of_one_label_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"a folder of pictures at .*none, found none"):
        read_dataset(tmp_path / "none")
    for label, there in (("real", "neither"), ("fake", "real/ alone")):
        with pytest.raises(DatasetError, match=f"holds {there}"):
            read_dataset(tmp_path)
        (tmp_path / label).mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    with pytest.raises(DatasetError, match="none that is fake"):
        read_dataset(tmp_path)
