"""The pictures that a distributed scan is asked for, as blocks of rows to be shared out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from facefake.known_files import path_digest
from facefake.results import ErrorResult
from facefake.scanning import AnyPath
from facefake.sources import file_state, find_pictures
from facefake.stores import Stored, find_stored, is_uri

if TYPE_CHECKING:
    import pyarrow as pa

    from facefake.settings import Settings

ROWS = 32
"""The most pictures that are handed out together, and lost together with a machine."""

COLUMNS = ("path", "size", "modified_ns", "record")
"""The blocks' columns: a file's path and state, or the JSON record of what is not a picture."""

_BLOCKS = 4  # per core at least, so that all have work to the end


def blocks_of(
    pictures: Iterable[AnyPath],
    settings: Settings,
    cores: int,
    looked_into: Callable[[str], object] = lambda path: None,
) -> Iterator[pa.Table]:
    """A row for each picture, and for what turns out not to be one, in blocks for `actors.Analysts`.

    Args:
        pictures: files, folders and patterns, as `find_pictures` takes them, or URIs, as `find_stored` does.
        settings: for the records of what is not a picture.
        cores: of the cluster. The first blocks are small, so that even a small scan is shared out.
        looked_into: called with each folder and pattern that holds a picture.

    Yields:
        At least one block.
    """
    import pyarrow as pa

    state = {"size": pa.int64(), "modified_ns": pa.int64()}
    schema = pa.schema({"path": pa.binary(), **state, "record": pa.string()})
    rows = _rows(pictures, settings, looked_into)
    count = 0
    while block := list(islice(rows, min(ROWS, 1 + count // (_BLOCKS * cores)))):
        count += len(block)
        yield pa.Table.from_pylist(block, schema)
    if not count:
        yield schema.empty_table()


def _rows(
    pictures: Iterable[AnyPath], settings: Settings, looked_into: Callable[[str], object]
) -> Iterator[dict[str, Any]]:
    given = list(pictures)
    uris = [path for path in map(_text, given) if path is not None and is_uri(path)]
    local = (path for path in given if (text := _text(path)) is None or not is_uri(text))
    stored: Iterator[Stored | ErrorResult] = chain.from_iterable(_stored(uri, looked_into) for uri in uris)
    if len(uris) > 1:
        stored = _each_once(stored)
    for found in chain(find_pictures(local, looked_into=looked_into), stored):
        if isinstance(found, ErrorResult):
            record = replace(found, settings=settings).to_dict()
            yield {"record": json.dumps(record, allow_nan=False)}
            continue
        path, file = found if isinstance(found, Stored) else (found, file_state(found))
        state = {} if file is None else asdict(file)
        yield {"path": os.fsencode(path), **state}


def _stored(uri: str, looked_into: Callable[[str], object]) -> Iterator[Stored | ErrorResult]:
    told = False
    for found in find_stored(uri):
        if not told and isinstance(found, Stored) and found.uri != uri:
            looked_into(uri)
            told = True
        yield found


def _text(path: AnyPath) -> str | None:
    return os.fsdecode(path) if isinstance(path, (str, bytes)) else None


def _each_once(stored: Iterator[Stored | ErrorResult]) -> Iterator[Stored | ErrorResult]:
    seen: set[bytes] = set()
    for found in stored:
        key = path_digest(found.path if isinstance(found, ErrorResult) else found.uri)
        if key not in seen:
            seen.add(key)
            yield found
