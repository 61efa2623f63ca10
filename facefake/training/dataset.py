"""Labelled pictures on disk: a manifest.csv, or a folder with real/ and fake/."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from facefake.errors import DatasetError
from facefake.results import ErrorResult
from facefake.sources import find_pictures, is_video

Label = Literal["real", "fake"]
Split = Literal["train", "val"]

_COLUMNS = ("path", "label", "kind", "source", "group", "split")
# Pictures per label that are not trained on, and the least and largest share: calibrating on few promises little.
_VAL_COUNT, _VAL_SHARES = 500, (0.1, 0.4)


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled picture.

    Attributes:
        path: the file.
        label: "real" or "fake".
        kind: how it was made ("photo", "gan", "diffusion", "face-swap" …).
        source: the collection or generator that it comes from.
        group: pictures of one group (a clip, a person) never cross a split.
        split: "train" or "val".
    """

    path: Path
    label: Label
    kind: str
    source: str
    group: str
    split: Split


def read_dataset(folder: Path) -> list[Example]:
    """The examples of a dataset, in a fixed order.

    Args:
        folder: either holds a ``manifest.csv`` with the columns path (relative to the folder), label, kind,
            source, group, split, where a row without a group is a group of its own; or holds ``real/`` and ``fake/``,
            whose subfolders, if any, are the sources, and all fakes are of one kind. The second form takes all files that
            a scan of the folder would, except videos. Its val split is some 500 of each label, but at least a tenth and at
            most four tenths, chosen by a hash of their names: adding pictures moves none into it, and removing one hardly
            ever does.

    Raises:
        DatasetError: the folder has neither form, a row is wrong, a group crosses the splits, a picture occurs twice, a
            folder cannot be read, or a label is missing.
    """
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        try:
            examples = _read_manifest(manifest)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"expected CSV in UTF-8 at {manifest}, got: {error}") from error
    elif (folder / "real").is_dir() and (folder / "fake").is_dir():
        examples = _read_folders(folder)
    else:
        if not folder.is_dir():
            raise DatasetError(f"expected a folder of pictures at {folder}, found none")
        alone = [f"{label}/ alone" for label in ("real", "fake") if (folder / label).is_dir()]
        raise DatasetError(
            f"expected {folder} to hold manifest.csv, or real/ and fake/; it holds {(alone or ['neither'])[0]}"
        )
    for label in ("real", "fake"):
        if not any(example.label == label for example in examples):
            raise DatasetError(f"expected pictures of both labels in {folder}, got none that is {label}")
    return sorted(examples, key=lambda example: example.path)


def _read_manifest(manifest: Path) -> list[Example]:
    examples = []
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        columns = next(rows, [])
        missing = [column for column in _COLUMNS if column not in columns]
        if missing:
            raise DatasetError(
                f"{manifest}: expected the columns {', '.join(_COLUMNS)}; {', '.join(missing)} missing"
            )
        for column in _COLUMNS:
            if (count := columns.count(column)) > 1:
                raise DatasetError(f"{manifest}: expected each column once, got {column} {count} times")
        lines: dict[str, int] = {}
        for values in filter(None, rows):
            where = f"{manifest}, line {rows.line_num}"
            if len(values) != len(columns):
                raise DatasetError(f"{where}: expected {len(columns)} values, got {len(values)}")
            row = dict(zip(columns, values, strict=True))
            if row["label"] not in ("real", "fake"):
                raise DatasetError(f"{where}: expected the label real or fake, got {row['label']!r}")
            if row["split"] not in ("train", "val"):
                raise DatasetError(f"{where}: expected the split train or val, got {row['split']!r}")
            path = manifest.parent / row["path"]
            if not os.path.isfile(path):  # Path's own raises OSError where a name is too long
                raise DatasetError(f"{where}: expected a picture at {path}, found none")
            if (first := lines.setdefault(os.path.normpath(path), rows.line_num)) != rows.line_num:
                raise DatasetError(f"{where}: expected each picture once, got {path} of line {first} again")
            examples.append(
                Example(
                    path,
                    cast(Label, row["label"]),
                    row["kind"],
                    row["source"],
                    row["group"] or row["path"],
                    cast(Split, row["split"]),
                )
            )
    splits: dict[str, Split] = {}
    for example in examples:
        if splits.setdefault(example.group, example.split) != example.split:
            raise DatasetError(
                f"{manifest}: expected all pictures of a group in one split, got the group {example.group!r} in both"
            )
    return examples


def _read_folders(folder: Path) -> list[Example]:
    examples = []
    labels: tuple[Label, ...] = ("real", "fake")
    for label in labels:
        paths = []
        for found in find_pictures([folder / label]):
            if isinstance(found, str) and not is_video(found):
                paths.append(Path(found))
            elif isinstance(found, ErrorResult) and found.kind != "not_found":
                raise DatasetError(found.message)
        val_share = float(np.clip(_VAL_COUNT / max(1, len(paths)), *_VAL_SHARES))
        for path in paths:
            parts = path.relative_to(folder / label).parts
            source = parts[0] if len(parts) > 1 else label
            name = path.relative_to(folder).as_posix()
            place = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:4]) / 2**32
            examples.append(
                Example(
                    path,
                    label,
                    "photo" if label == "real" else label,
                    source,
                    name,
                    "val" if place < val_share else "train",
                )
            )
    return examples
