"""The commands that train and measure models."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facefake.errors import OutputError
from facefake.options import FILE, FOLDER, JSON, MODEL, OUTPUT, examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from facefake.training.evaluate import Split
    from facefake.training.figure_tables import Table
    from facefake.training.figures import Evaluation
    from facefake.training.leave_out import LeaveOneOut, LeftOutRow

_FILE_WIDTH = 200  # columns: more than any table needs


@click.command(
    epilog=examples(
        "train data/ --out runs/mine --steps 500 --seed 1",
        "train data/ --out runs/mine --recipe recipe.toml --backbone resnet50 --cache crops/",
        "train data/ --out runs/mine --from models/facefake",
    )
)
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=FOLDER, metavar="DIR", required=True, help="Folder for the model, which is named after it."
)
@click.option(
    "--recipe",
    type=FILE,
    metavar="FILE.toml",
    help="Settings of the run; any left out keep their defaults. A table replaces the default's whole: with "
    "[self_made_share], fakes that it does not name are not made.",
)
@click.option("--from", "start", type=FOLDER, metavar="BUNDLE", help="Fine-tune an existing model.")
@click.option(
    "--backbone",
    metavar="NAME",
    help="Network to start from: efficientnet-lite0 or efficientnet-lite0-short, or vgg16, resnet50, inceptionv3 or "
    "efficientnetv2b0 if Keras has their weights.  [default: efficientnet-lite0]",
)
@click.option(
    "--cache", type=FOLDER, metavar="DIR", help="Where face crops are kept.  [default: crops in --out]"
)
@click.option(
    "--steps", type=click.IntRange(1), metavar="N", help="Number of training steps, instead of the recipe's."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Random seed, instead of the recipe's."
)
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

    DATA is a folder with real/ and fake/, or with a manifest.csv; the largest face of each picture is used. An interrupted
    run resumes after its last epoch when it is started again with the same --out.
    """
    from facefake import terminal
    from facefake.training.network import LITE0
    from facefake.training.recipe import Recipe, read_recipe
    from facefake.training.run import train as run

    if start and backbone:
        raise click.UsageError("expected --from or --backbone, got both: a bundle has its own backbone")
    chosen = read_recipe(recipe) if recipe else Recipe()
    if steps and chosen.stage:
        raise click.UsageError(f"expected a recipe without stages for --steps, got {recipe}")
    chosen = replace(chosen, steps=steps or chosen.steps, seed=chosen.seed if seed is None else seed)
    err = terminal.console(stderr=True)

    def report(epoch: dict[str, Any]) -> None:
        numbers = [f"{name} {value:.4g}" for name, value in epoch.items() if isinstance(value, (int, float))]
        err.print("  ".join(numbers), soft_wrap=True)
        by_source = [f"{terminal.printable(name)} {auc:.3f}" for name, auc in epoch["sources"].items()]
        err.print(f"  AUC by source: {', '.join(by_source)}", soft_wrap=True)

    try:
        _import_keras()
        with terminal.progress("pictures cropped", err) as bar:
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
                tell=_told_on(err),
            )
    except KeyboardInterrupt:
        err.print(
            "Interrupted: the same command continues after the last complete epoch, or starts over if there is none.",
            soft_wrap=True,
        )
        raise
    terminal.console().print(f"{bundle.label} is in {terminal.printable(str(out))}", soft_wrap=True)
    model = terminal.printable(shlex.quote(str(out)))
    err.print(
        f"facefake scan PICTURE --model {model} uses it, and facefake info --model {model} says where it fails.",
        soft_wrap=True,
    )


@click.command(
    epilog=examples(
        "evaluate data/ --split val --report evaluation.html --force",
        "evaluate data/ --model runs/mine --cache crops/ --json",
        "evaluate data/ --leave-one-source-out --out runs/left-out --recipe recipe.toml --steps 300",
        "evaluate data/ --leave-one-source-out --out runs/left-out --leave-out sdxl --leave-out 'flux1-*'",
    )
)
@click.argument("data", type=click.Path(path_type=Path))
@MODEL
@click.option(
    "--cache",
    type=FOLDER,
    metavar="DIR",
    help="Where face crops are kept for the next run.  [default: nowhere]",
)
@JSON
@click.option(
    "--split",
    type=click.Choice(("all", "train", "val", "unseen")),
    default="all",
    show_default=True,
    help="Which faces of DATA: those of a split, or those that this model has not seen.",
)
@click.option(
    "--report",
    type=OUTPUT,
    metavar="FILE.html",
    help="Write a page with curves, all figures and the worst mistakes. It contains faces from DATA.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing report.")
@click.option(
    "--leave-one-source-out",
    is_flag=True,
    help="Instead of measuring a model, train short runs, each without one source of fakes, and score that source.",
)
@click.option(
    "--out", type=FOLDER, metavar="DIR", help="Folder for those runs; finished ones are not repeated."
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="SOURCES",
    help="Sources to leave out together, such as 'flux1-*' or 'sdxl,sd21'; repeat the option for each run.  "
    "[default: one run for each source of fakes]",
)
@click.option(
    "--recipe", type=FILE, metavar="FILE.toml", help="Settings of those runs; of its stages, only the first."
)
@click.option(
    "--steps", type=click.IntRange(1), metavar="N", help="Number of training steps, instead of the recipe's."
)
def evaluate(
    data: Path,
    model: Path | None,
    cache: Path | None,
    as_json: bool,
    split: Split,
    report: Path | None,
    force: bool,
    leave_one_source_out: bool,
    out: Path | None,
    leave_out: tuple[str, ...],
    recipe: Path | None,
    steps: int | None,
) -> None:
    """Measure how well a model tells real from fake.

    DATA is a folder with real/ and fake/, or with a manifest.csv. Every face is scored on three tiers: clean, web (at most
    768 px, JPEG quality 60) and hard (at most 512 px, quality 40). Up to 60 faces per source and label are also scored at
    eight sizes (clean and web), at twelve blurs (large and small faces) and after fourteen everyday edits, and up to 25 in
    twelve further combinations of size and quality, to see whether their verdicts hold. Pictures of 2 to 32 faces are put
    together from all of them and judged as a whole.
    """
    from facefake.training.figure_tables import evaluation_tables
    from facefake.training.files import write_text

    if leave_one_source_out:
        if model or report or split != "all":
            raise click.UsageError("expected no --model, --split or --report beside --leave-one-source-out")
        if out is None:
            raise click.UsageError("expected --out DIR beside --leave-one-source-out")
        found = _without_each_source(data, out, leave_out, recipe, steps, cache)
        _print_figures(found, found.tables(), as_json)
        return
    if out or leave_out or recipe or steps:
        raise click.UsageError(
            "expected --leave-one-source-out beside --out, --leave-out, --recipe or --steps"
        )
    figures, page = _measured(data, model, split, cache, report, force)
    try:
        if report:
            write_text(report, page)
    finally:  # the figures, which took minutes, are printed even if the page cannot be written
        _print_figures(figures, evaluation_tables(figures), as_json)


def _measured(
    data: Path, model: Path | None, split: Split, cache: Path | None, report: Path | None, force: bool
) -> tuple[Evaluation, str]:
    """A model's figures, and the page for `report`; "" without that."""
    from facefake import terminal
    from facefake.saving import check_whole_file
    from facefake.training.evaluate import evaluate as measure
    from facefake.training.evaluation_report import evaluation_page

    if report:
        check_whole_file(report, force)
    err = terminal.console(stderr=True)
    with _crops_in(cache) as folder, terminal.progress("pictures cropped", err) as bar:
        scored = measure(
            data,
            model,
            split=split,
            cache=folder,
            progress=lambda what, done, total: bar(done, total, what),
            tell=_told_on(err),
        )
        # The page shows crops, so it is made before the temporary folder goes.
        return scored.evaluation, evaluation_page(scored) if report else ""


@contextmanager
def _crops_in(cache: Path | None) -> Iterator[Path]:
    """The folder for face crops: a temporary one if none was given.

    Raises:
        OutputError: there can be no temporary folder.
    """
    with ExitStack() as stack:
        if cache is None:
            try:
                cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            except OSError as error:
                raise OutputError(
                    f"expected a temporary folder for face crops, got: {error.strerror}; --cache names another"
                ) from error
        yield cache


def _print_figures(result: Evaluation | LeaveOneOut, tables: Sequence[Table], as_json: bool) -> None:
    from facefake import terminal

    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
        return
    printed = terminal.console()
    if not printed.is_terminal:  # a file has no edge at which numbers must wrap
        printed.width = max(printed.width, _FILE_WIDTH)
    for title, headers, rows, names in tables:
        if rows:
            printed.print(f"{title}:")
            parts = terminal.figures(headers, rows, names, printed.width)
            for part in parts:  # what is still too wide must not be cut off
                printed.print(part, "", sep="\n", crop=False)


def _without_each_source(
    data: Path,
    out: Path,
    leave_out: tuple[str, ...],
    recipe: Path | None,
    steps: int | None,
    cache: Path | None,
) -> LeaveOneOut:
    from facefake import terminal
    from facefake.training.leave_out import leave_one_source_out
    from facefake.training.network import LITE0
    from facefake.training.recipe import Recipe, read_recipe
    from facefake.wording import counted

    # A recipe's first stage is the one that starts from the backbone.
    chosen = (read_recipe(recipe) if recipe else Recipe()).stages()[0]
    chosen = replace(chosen, steps=steps or chosen.steps)
    err = terminal.console(stderr=True)
    finished = 0

    def told(row: LeftOutRow) -> None:
        nonlocal finished
        finished += 1
        aucs = ", ".join(f"{auc:.3f} {tier}" for tier, auc in row.auc.items())
        err.print(f"without {terminal.printable(row.name)}: AUC {aucs}", soft_wrap=True)

    try:
        _import_keras()
        with terminal.progress("pictures cropped", err) as bar:
            return leave_one_source_out(
                data,
                out,
                chosen,
                backbone=LITE0,
                patterns=leave_out,
                cache=cache,
                progress=lambda what, done, total: bar(done, total, what),
                report=told,
                tell=_told_on(err),
            )
    except KeyboardInterrupt:
        err.print(
            f"Interrupted with {counted(finished, 'run')} finished: the same command repeats none of these, and continues "
            "the next after its last complete epoch, or starts it over if there is none.",
            soft_wrap=True,
        )
        raise


def _told_on(console: Console) -> Callable[[str], None]:
    """Print sentences, which may contain untrusted file names, on a console."""
    from facefake import terminal

    return lambda sentence: console.print(terminal.printable(sentence), soft_wrap=True)


def _import_keras() -> None:
    """Import Keras before anything else does: TensorFlow prints messages on import, whatever its log level."""
    from facefake.native import quiet

    with quiet():
        import keras  # noqa: F401
