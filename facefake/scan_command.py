"""The command `facefake scan`, on this machine or on many, and what it reports to the user meanwhile."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from facefake import terminal
from facefake.scan_output import Tables, Told

if TYPE_CHECKING:
    from facefake.classifier import Runtime
    from facefake.frames import Sampling
    from facefake.journal import JsonLines
    from facefake.report import CsvTable
    from facefake.settings import Settings
    from facefake.sources import Pause


@dataclass(frozen=True)
class Scan:
    """The arguments of `facefake scan`, named like its options, and what it does with them."""

    pictures: tuple[str, ...]
    annotate: Path | None
    evidence: bool
    as_json: bool
    jsonl: Path | None
    csv: Path | None
    engine: str
    address: str | None
    output: str | None
    resume: bool
    retry_failures: bool
    min_face: float | None
    alarm: float | None
    model: Path | None
    runtime: Runtime
    workers: int | None
    timeout: float
    worker_memory: int
    max_faces: int
    max_megabytes: float | None
    max_megapixels: float | None
    frames_per_second: float
    max_frames: int
    null: bool
    fail_on_fake: bool
    force: bool

    def run(self) -> None:
        """Scan, and exit with the status that says how it went."""
        self._check_use()
        told = Told()
        if self.engine == "ray":
            self._afar(told)
        else:
            self._here(told)
        told.end(self.fail_on_fake)

    def _check_use(self) -> None:
        from facefake.sources import is_picture

        if self.jsonl and self.csv and same_file(self.jsonl, self.csv):
            raise click.UsageError(f"expected two files, got {self.jsonl} for both --jsonl and --csv")
        for target in filter(None, (self.jsonl, self.csv)):
            if _is_one_of(target, self.pictures):
                raise click.UsageError(f"expected a file to write to, got one of the pictures, {target}")
        if self.annotate and any(
            same_file(Path(path), self.annotate) for path in self.pictures if path != "-"
        ):
            raise click.UsageError(
                f"expected a folder for --annotate other than those to scan, got {self.annotate}: "
                "a later scan would take the copies for pictures"
            )
        if self.annotate and is_picture(os.fspath(self.annotate)) and not self.annotate.exists():
            raise click.UsageError(
                f"expected a folder for --annotate, got the name of a picture, {self.annotate}"
            )
        if self.evidence and not self.annotate:
            raise click.UsageError("expected --evidence together with --annotate")
        if self.engine == "local" and (self.address or self.output):
            raise click.UsageError("expected --engine ray together with --address or --output")
        if self.engine == "ray" and (
            (self.jsonl is None) is (self.output is None)
            or self.csv
            or self.as_json
            or self.annotate
            or self.workers == 0
        ):
            raise click.UsageError(
                "expected --engine ray with --jsonl or --output, and without --csv, --json, --annotate and --workers 0"
            )
        if self.engine == "ray" and self.jsonl and self.jsonl.suffix != ".jsonl":
            raise click.UsageError(
                f"expected a name that ends with .jsonl for --jsonl with --engine ray, got {self.jsonl}"
            )
        if self.output and self.output.endswith(".jsonl"):
            raise click.UsageError(
                f"expected a folder for --output, got {self.output}; --jsonl writes such a file"
            )
        if self.resume and ((self.jsonl or self.output) is None or self.csv or self.force):
            raise click.UsageError(
                "expected --resume with --jsonl or --output and without --csv and --force; facefake report makes the table"
            )
        if self.retry_failures and not self.resume:
            raise click.UsageError("expected --retry-failures together with --resume")
        if self.null and "-" not in self.pictures:
            raise click.UsageError("expected --null together with - for the paths on standard input")
        if self.engine == "local":
            from facefake.stores import is_uri

            for path in self.pictures:
                if is_uri(path) and not os.path.lexists(path):
                    raise click.UsageError(
                        f"expected a file of that name, or --engine ray for a URI, got {path}"
                    )

    def _paths(self, told: Told) -> Iterable[str | bytes | Pause]:
        if "-" in self.pictures:
            return _from_standard_input(self.pictures, self.null, told)
        return self.pictures

    @property
    def _judging(self) -> dict[str, Any]:
        return {
            "min_face": self.min_face,
            "alarm_rate": self.alarm,
            "runtime": self.runtime,
            "max_faces": self.max_faces,
        }

    @property
    def _sampling(self) -> Sampling:
        from facefake.frames import Sampling

        try:
            return Sampling(self.frames_per_second, self.max_frames)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--frames-per-second") from error

    @property
    def _bounds(self) -> dict[str, Any]:
        from facefake.reading import ImageLimits

        limits = ImageLimits()
        if self.max_megabytes:
            limits = replace(limits, max_bytes=max(1, int(self.max_megabytes * 1024 * 1024)))
        if self.max_megapixels:
            limits = replace(limits, max_pixels=max(1, int(self.max_megapixels * 1_000_000)))
        return {
            "limits": limits,
            "workers": self.workers,
            "timeout": self.timeout,
            "worker_memory": self.worker_memory << 20,
        }

    def _afar(self, told: Told) -> None:
        from facefake.distributed import scan
        from facefake.sources import Pause

        with terminal.progress("files", told.err) as bar:
            scan(
                (path for path in self._paths(told) if not isinstance(path, Pause)),
                self.jsonl or self.output or "",
                force=self.force,
                resume=self.resume,
                retry_failures=self.retry_failures,
                recorded=lambda record: told.verdict(
                    record["path"], record["verdict"], record.get("error", {}).get("message")
                ),
                left_out=told.left_out,
                progress=lambda done, total: bar(done, total, note=told.worst),
                model=self.model,
                sampling=self._sampling,
                address=self.address,
                **self._judging,
                **self._bounds,
            )

    def _here(self, told: Told) -> None:
        from facefake.results import ErrorResult
        from facefake.saving import AnnotatedFolder
        from facefake.scanning import scan
        from facefake.settings import read_settings

        tables = None if self.as_json or self.jsonl or self.csv else Tables()
        records: list[dict[str, Any]] = []
        # These raise errors before any file is created.
        settings, paths = read_settings(self.model, **self._judging), self._paths(told)
        with ExitStack() as stack:
            journal, files = self._files(stack, settings)
            # A bar would overwrite tables on the same terminal, and they show the progress themselves.
            shown = not (tables and tables.out.is_terminal)
            bar = stack.enter_context(terminal.progress("files", told.err, shown=shown))

            def show_progress(done: int, total: int | None) -> None:
                if tables:
                    tables.place = f"{done} of {total or '?'}  " if total != 1 else ""
                bar(done, total, note=told.worst)

            found = scan(
                paths,
                model=self.model,
                sampling=self._sampling,
                **self._judging,
                **self._bounds,
                annotate=AnnotatedFolder(self.annotate, self.force, self.evidence) if self.annotate else None,
                ordered=tables is not None or self.as_json,
                skip=journal.known.holds if journal else lambda path, file: False,
                known=journal.known.knows if journal and self.resume else None,
                shows_nobody=journal.known.shows_nobody if journal else lambda path: False,
                left_out=told.left_out,
                looked_into=journal.known.looked_into if journal else lambda path: None,
                progress=show_progress,
                copied=told.copy,
            )
            stack.enter_context(closing(found))
            first = list(islice(found, 1))  # if the scan cannot begin, this raises, and old results are kept
            for file in reversed(files):  # the records last, since a table can be made from them
                file.begin()
            for record in chain(first, found):
                for file in files:
                    file.write(record)
                if self.as_json:
                    records.append(record.to_dict())
                error = record.message if isinstance(record, ErrorResult) else None
                told.verdict(record.path, record.verdict, error)
                if tables:
                    tables.show(record)
        if self.as_json:
            click.echo(json.dumps(records, indent=2, allow_nan=False))
        if tables:
            tables.hint(told.err, marked=self.annotate is not None, all_sizes=self.min_face is not None)

    def _files(
        self, stack: ExitStack, settings: Settings
    ) -> tuple[JsonLines | None, list[JsonLines | CsvTable]]:
        """The journal, if there is one, and all files that get the records; none of them has been begun."""
        from facefake.journal import JsonLines
        from facefake.report import CsvTable
        from facefake.saving import check_folder, check_free

        if self.annotate:
            check_folder(self.annotate)
        for target in (None if self.resume else self.jsonl, self.csv):
            if target:
                check_free(target, self.force, records=target == self.jsonl)
        files: list[JsonLines | CsvTable] = []
        journal = None
        if self.jsonl:
            journal = JsonLines(
                self.jsonl,
                self.force,
                resume=settings if self.resume else None,
                sampling=self._sampling,
                retry_failures=self.retry_failures,
            )
            files.append(stack.push(journal))
        if self.csv:
            files.append(stack.push(CsvTable(self.csv, self.force)))
        return journal, files


def same_file(one: Path, other: Path) -> bool:
    """Whether two names refer to the same file, which need not exist."""
    try:
        return one.resolve() == other.resolve() or one.samefile(other)
    except (OSError, ValueError, RuntimeError):
        return False


def _is_one_of(target: Path, pictures: Iterable[str]) -> bool:
    """Whether a file is one of the pictures; one that does not exist yet is not."""
    try:
        own = target.stat()
    except (OSError, ValueError):
        return False
    for picture in pictures:
        with suppress(OSError, ValueError):
            if picture != "-" and os.path.samestat(own, os.stat(picture)):
                return True
    return False


def _from_standard_input(pictures: tuple[str, ...], null: bool, told: Told) -> Iterator[str | bytes | Pause]:
    from facefake.sources import Pause, listed_paths

    if sys.stdin is None:
        raise click.UsageError("expected paths on standard input, which is closed")
    listed = listed_paths(cast(BufferedReader, sys.stdin.buffer), null)
    try:
        first = list(islice((path for path in listed if not isinstance(path, Pause)), 1))
    except ValueError as error:
        raise click.UsageError(
            f"standard input: {error}: give pictures by their paths, and --null if each path ends with a NUL"
        ) from error
    if not first:
        told.fault("standard input: expected paths of pictures, got none")
    listed = chain(first, listed)
    return chain.from_iterable(listed if picture == "-" else (picture,) for picture in pictures)
