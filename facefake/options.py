"""What the commands' options have in common."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click


class _File(click.Path):
    """A file by its name; ``-``, which means a stream in other programs, is refused rather than taken for a name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or a `click.UsageError`."""
        if value == "-":
            self.fail("expected the name of a file, got -; for a file of that name write ./-", param, ctx)
        return super().convert(value, param, ctx)


class _Output(_File):
    """A file to be written, not named like a picture: nobody who writes ``--force --csv *.jpg`` means to overwrite one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or a `click.UsageError`."""
        from facefake.sources import is_picture

        path = super().convert(value, param, ctx)
        if is_picture(os.fsdecode(path)):
            self.fail(f"expected a name that is not a picture's, got {path}", param, ctx)
        return path


FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = _File(dir_okay=False, path_type=Path)
OUTPUT = _Output(dir_okay=False, path_type=Path)
MODEL = click.option(
    "--model",
    type=FOLDER,
    metavar="BUNDLE",
    help="Folder of a model bundle to use instead of the one that comes with facefake.",
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output instead of tables."
)


class Finite(click.FloatRange):
    """A number within bounds; not ``inf`` or ``nan``, which `click.FloatRange` accepts."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a `click.UsageError`."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"expected a finite number, got {value}", param, ctx)
        return number


def examples(*lines: str) -> str:
    """The examples at the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  facefake {line}" for line in lines)
