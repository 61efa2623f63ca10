"""The command line; the only module that prints. Results go to standard output, all else to standard error."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facefake import __version__
from facefake.errors import FaceFakeError, OutputError

if TYPE_CHECKING:
    from facefake.classifier import Runtime
    from facefake.training.evaluate import Split

_WIDE = 100
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_MODEL = click.option(
    "--model",
    type=_FOLDER,
    metavar="BUNDLE",
    help="Folder of a model bundle instead of the one that comes along.",
)
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output instead of tables."
)


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        from facefake.native import naming_missing_libraries
        from facefake.terminal import printable

        try:
            with naming_missing_libraries():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None
        except FaceFakeError as error:
            raise click.ClickException(printable(" ".join(str(error).splitlines()))) from error


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  facefake {line}" for line in lines)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_examples("scan photo.jpg", "scan --help"),
)
@click.version_option(__version__, prog_name="facefake")
def main() -> None:
    """Finds every face in a picture and tells which are real and which are fake."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports tensorflow
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@main.command(
    epilog=_examples(
        "scan group.jpg --annotate out/",
        "scan photos/ --jsonl results.jsonl --csv results.csv --force",
        "scan photo.jpg --json --fail-on-fake",
        "scan crowd.jpg --min-face 24 --alarm 0.001",
        "scan photo.jpg --model runs/mine --runtime keras",
    )
)
@click.argument("pictures", metavar="PHOTO_OR_FOLDER...", nargs=-1, required=True)
@click.option(
    "--annotate", type=_FOLDER, metavar="DIR", help="Write a copy of each picture with its faces marked."
)
@_JSON
@click.option(
    "--jsonl", type=_FILE, metavar="FILE", help="Write one JSON record a picture and line, as they come."
)
@click.option("--csv", type=_FILE, metavar="FILE", help="Write a table for spreadsheets, one row a face.")
@click.option(
    "--min-face",
    type=click.FloatRange(8, 30_000),
    metavar="PX",
    help="Smallest face to look for, in pixels. Those that the model cannot judge are listed as such. "
    "Half as large takes four times as long.  [default: what the model can judge]",
)
@click.option(
    "--alarm",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Largest share of pictures without a fake that may be called fake.  [default: the model's, usually 0.01]",
)
@_MODEL
@click.option(
    "--runtime",
    type=click.Choice(("litert", "keras")),
    default="litert",
    show_default=True,
    help="What computes.",
)
@click.option("--fail-on-fake", is_flag=True, help="Exit with status 3 when a picture is called fake.")
@click.option("--force", is_flag=True, help="Write over files that are there already.")
def scan(
    pictures: tuple[str, ...],
    annotate: Path | None,
    as_json: bool,
    jsonl: Path | None,
    csv: Path | None,
    min_face: float | None,
    alarm: float | None,
    model: Path | None,
    runtime: Runtime,
    fail_on_fake: bool,
    force: bool,
) -> None:
    """Judge every face in pictures and folders of pictures.

    \b
    Before you rely on it:
    - A verdict is statistics, not proof. "real" means that no face looks
      fake, not that the picture is authentic.
    - Real pictures are called fake at the alarm rate, and more often if they
      are unlike those it was measured on. Fakes of unknown make are missed.
    - Small, blurred and cut-off faces are not judged. What the model is known
      to fail on: facefake info, and models/README.md.

    A face's false-alarm rate is the share of real faces that look at least as
    fake; a picture's allows for how many faces it has. --jsonl and --csv
    write files instead of tables on the screen.

    Exit status: 0 done, 1 some pictures failed, 2 wrong use, 3 a fake was
    found and --fail-on-fake is given, whether or not pictures failed.
    """
    from facefake import terminal
    from facefake.detector import FakeImageDetector
    from facefake.report import CsvTable, JsonLines
    from facefake.results import ErrorResult
    from facefake.saving import AnnotatedFolder
    from facefake.scan import scan as analyses

    if jsonl and csv and jsonl.absolute() == csv.absolute():
        raise click.UsageError(f"expected two files, got {jsonl} for both --jsonl and --csv")
    if runtime == "keras":
        _import_keras()
    out, err = terminal.console(), terminal.console(stderr=True)

    def complain(message: str) -> None:
        err.print(f"Error: {terminal.printable(message)}", style="bold red", soft_wrap=True)

    tables = not (as_json or jsonl or csv)
    verdicts: Counter[str] = Counter()
    unsaved, crowded, place = 0, False, ""
    records: list[dict[str, Any]] = []
    with ExitStack() as stack:
        detector = stack.enter_context(
            FakeImageDetector(model, min_face=min_face, alarm_rate=alarm, runtime=runtime)
        )
        files: list[JsonLines | CsvTable] = []
        if jsonl:
            files.append(stack.enter_context(JsonLines(jsonl, force)))
        if csv:
            files.append(stack.enter_context(CsvTable(csv, force)))
        album = AnnotatedFolder(annotate, force) if annotate else None
        # A bar would draw over tables on the same terminal, and they show the progress themselves.
        bar = stack.enter_context(terminal.progress("pictures", err, shown=not (tables and out.is_terminal)))

        def show_progress(done: int, total: int) -> None:
            nonlocal place
            place = f"{done + 1} of {total}  " if total > 1 else ""
            bar(done, total)

        for record in analyses(pictures, detector, show_progress):
            verdicts[record.verdict] += 1
            for file in files:
                file.write(record)
            if as_json:
                records.append(record.to_dict())
            if isinstance(record, ErrorResult):
                complain(record.message)
                continue
            crowded = crowded or len(record.faces) > 1
            if tables:
                out.print(terminal.picture(record, place + (record.path or ""), wide=out.width >= _WIDE))
            if album:
                try:
                    saved = album.save(record)
                except OutputError as error:
                    unsaved += 1
                    complain(str(error))
                else:
                    err.print(f"Annotated: {terminal.printable(str(saved))}", soft_wrap=True)
    if as_json:
        click.echo(json.dumps(records, indent=2, allow_nan=False))
    if tables and crowded and not album:
        err.print(
            "Faces are numbered from left to right; --annotate DIR marks them on a copy of the picture."
        )
    if verdicts.total() > 1:
        err.print(terminal.tally(verdicts))
    if fail_on_fake and verdicts["fake"]:
        raise click.exceptions.Exit(3)
    if verdicts["error"] or unsaved:
        raise click.exceptions.Exit(1)


@main.command(epilog=_examples("info", "info --model runs/mine --json"))
@_MODEL
@_JSON
def info(model: Path | None, as_json: bool) -> None:
    """Show versions and the model's limits, and test it."""
    from facefake import terminal
    from facefake.about import describe, versions
    from facefake.classifier import Classifier

    out = terminal.console()
    if not as_json:  # before the model is loaded: they help to find out why it cannot be
        out.print(terminal.table(["Software", "Version"], versions().items()), "")
    bundle = Classifier(model).bundle  # raises ModelError when the self-test fails
    known = {**describe(bundle), "self_test": "passed"}
    if as_json:
        whole = {"versions": versions(), "model": {**known, "card": bundle.card}}
        click.echo(json.dumps(whole, indent=2))
        return
    weaknesses = known.pop("weaknesses")
    out.print(terminal.table(["Model", ""], terminal.details(known)), "")
    if weaknesses:
        headers = ["Where it fails: on faces that it had not seen, it"]
        out.print(terminal.table(headers, [[line] for line in weaknesses]), "")
    out.print("More is in models/README.md; --json prints all that the bundle says of itself.")


@main.command(
    epilog=_examples(
        "train data/ --out runs/mine --steps 500 --seed 1",
        "train data/ --out runs/mine --recipe recipe.toml --backbone resnet50 --cache crops/",
        "train data/ --out runs/mine --from models/facefake",
    )
)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=_FOLDER, metavar="DIR", required=True, help="Folder for the model, which gets its name."
)
@click.option(
    "--recipe", type=_FILE, metavar="FILE.toml", help="Settings of the run; others keep their defaults."
)
@click.option("--from", "start", type=_FOLDER, metavar="BUNDLE", help="Go on training an existing model.")
@click.option(
    "--backbone",
    metavar="NAME",
    help="Network to start from: efficientnet-lite0, or vgg16, resnet50, inceptionv3 or efficientnetv2b0 if Keras "
    "has their weights.  [default: efficientnet-lite0]",
)
@click.option(
    "--cache", type=_FOLDER, metavar="DIR", help="Where face crops are kept.  [default: crops in --out]"
)
@click.option(
    "--steps", type=click.IntRange(1), metavar="N", help="Train for so many steps instead of the recipe's."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Seed instead of the recipe's.")
def train(
    data: Path,
    out: Path,
    recipe: Path | None,
    start: Path | None,
    backbone: str | None,
    cache: Path | None,
    steps: int | None,
    seed: int | None,
) -> None:
    """Train a model on your own pictures.

    DATA is a folder with real/ and fake/, or a manifest.csv. A run that was interrupted goes on where it was
    when it is started again with the same --out.
    """
    from facefake import terminal
    from facefake.training.network import LITE0
    from facefake.training.recipe import Recipe, read_recipe
    from facefake.training.run import train as run

    if start and backbone:
        raise click.UsageError("expected --from or --backbone, got both: a bundle has its own backbone")
    chosen = read_recipe(recipe) if recipe else Recipe()
    chosen = replace(chosen, steps=steps or chosen.steps, seed=chosen.seed if seed is None else seed)
    _import_keras()
    err = terminal.console(stderr=True)

    def report(epoch: dict[str, Any]) -> None:
        numbers = [f"{name} {value:.4g}" for name, value in epoch.items() if isinstance(value, (int, float))]
        err.print("  ".join(numbers), soft_wrap=True)
        by_source = [f"{terminal.printable(name)} {auc:.3f}" for name, auc in epoch["sources"].items()]
        err.print(f"  AUC by source: {', '.join(by_source)}", soft_wrap=True)

    with terminal.progress("pictures cut out", err) as bar:
        bundle = run(
            data,
            out,
            chosen,
            backbone=backbone or LITE0,
            start=start,
            cache=cache,
            name=re.sub(r"[^\w.+-]", "-", out.absolute().name)[:60] or "custom",
            progress=lambda what, done, total: bar(done, total, what),
            report=report,
        )
    terminal.console().print(f"{bundle.label} is in {terminal.printable(str(out))}", soft_wrap=True)


@main.command(
    epilog=_examples("evaluate data/ --split val", "evaluate data/ --model runs/mine --cache crops/ --json")
)
@click.argument("data", type=click.Path(path_type=Path))
@_MODEL
@click.option(
    "--cache",
    type=_FOLDER,
    metavar="DIR",
    help="Where face crops are kept for next time.  [default: nowhere]",
)
@_JSON
@click.option(
    "--split",
    type=click.Choice(("all", "train", "val", "unseen")),
    default="all",
    show_default=True,
    help="Which faces of DATA: those of a split, or those that this model has not seen.",
)
def evaluate(data: Path, model: Path | None, cache: Path | None, as_json: bool, split: Split) -> None:
    """Measure how well a model tells real from fake.

    DATA is a folder with real/ and fake/, or a manifest.csv.
    """
    from facefake import terminal
    from facefake.training.evaluate import evaluate as measure

    err = terminal.console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch, terminal.progress("pictures cut out", err) as progress:
        evaluation = measure(data, model, split=split, cache=cache or Path(scratch), progress=progress)
    if as_json:
        click.echo(json.dumps(evaluation.to_dict(), indent=2))
        return
    out = terminal.console()
    for headers, rows in evaluation.tables():
        numbers = [
            place for place in range(len(headers)) if any(re.match(r"[\d.]+%?$", row[place]) for row in rows)
        ]
        out.print(terminal.table(headers, rows, numbers), "")


def _import_keras() -> None:
    """Import Keras before anybody else does: TensorFlow chats at that, whatever its log level."""
    from facefake.native import quiet

    with quiet():
        import keras  # noqa: F401
