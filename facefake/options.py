"""What the commands' options have in common."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
MODEL = click.option(
    "--model",
    type=FOLDER,
    metavar="BUNDLE",
    help="Folder of a model bundle instead of the one that comes along.",
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output instead of tables."
)


def examples(*lines: str) -> str:
    """The examples at the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  facefake {line}" for line in lines)
