"""The command line. Results go to standard output, all else to standard error; only the commands' own modules print."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import click

from facefake import __version__
from facefake.errors import FaceFakeError, OutputError
from facefake.options import FILE, FOLDER, JSON, MODEL, OUTPUT, Finite, examples
from facefake.settings import LONGEST_TIMEOUT, MAX_FACES, MOST_WORKER_MEMORY, TIMEOUT, WORKER_MEMORY
from facefake.streams import NoReader, lasting
from facefake.training.commands import evaluate, train

_READER_GONE = 128 + signal.SIGPIPE  # as shells report a command that the signal ended, without a word
_NOWHERE_TO_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

# What `info` shows people of the calibration; the rest is for programs.
_LIMITS = ("real_count", "alarm_rate", "uncertain_rate", "min_face", "min_sharpness")


class _NotDone(click.ClickException):
    exit_code = 2  # as for wrong use; 1 is for a scan that has results, but not for all pictures


class _Commands(click.Group):
    def main(self, *args: Any, **options: Any) -> Any:
        with lasting():
            try:
                try:
                    return super().main(*args, **options)
                except SystemExit as end:
                    if end.code != _NotDone.exit_code:  # with that one, the error has already been reported
                        sys.stdout.flush()
                    raise
            except NoReader:
                sys.exit(_READER_GONE)
            except OutputError as error:  # from what is printed before a command is invoked
                click.echo(f"Error: {error}", err=True)
                sys.exit(_NotDone.exit_code)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None and os.path.lexists(args[0]):
            from facefake.terminal import printable

            ctx.fail(
                f"expected a command, got a file or folder: try facefake scan {printable(shlex.quote(args[0]))}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return self._in_words(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None

    def _in_words(self, ctx: click.Context) -> Any:
        from facefake.native import naming_missing_libraries
        from facefake.terminal import printable

        try:
            with naming_missing_libraries():
                return super().invoke(ctx)
        except NoReader:
            raise click.exceptions.Exit(_READER_GONE) from None
        except click.UsageError as error:  # may quote the name of a stranger's file
            raise click.UsageError(printable(error.format_message()), error.ctx) from error
        except FaceFakeError as error:
            raise _NotDone(printable(" ".join(str(error).splitlines()))) from error
        except OSError as error:
            if error.errno not in _NOWHERE_TO_WRITE:
                raise
            raise _NotDone(printable(f"expected to go on writing, got: {error}")) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("scan photo.jpg", "scan --help"),
)
@click.version_option(__version__, prog_name="facefake")
def main() -> None:
    """Finds every face in a picture and tells which are real and which are fake."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports tensorflow


@main.command(
    epilog=examples(
        "scan group.jpg --annotate out/ --evidence",
        "scan photos/ --jsonl results.jsonl --csv results.csv --force",
        "scan photos/ 'more/**/*.png' --jsonl results.jsonl --resume --retry-failures",
        "scan photo.jpg --json --fail-on-fake",
        "scan crowd.jpg --min-face 24 --alarm 0.001 --max-faces 5000",
        "scan - --null --jsonl results.jsonl < paths",
        "scan inbox/ --workers 4 --timeout 30 --worker-memory 2000",
        "scan inbox/ --max-megabytes 50 --max-megapixels 100",
        "scan clip.mp4 --annotate out/ --frames-per-second 4 --max-frames 200",
        "scan photo.jpg --model runs/mine --runtime keras",
        "scan s3://bucket/photos/ --engine ray --address auto --output s3://bucket/records/ --resume",
    )
)
@click.argument("pictures", metavar="PHOTO_OR_FOLDER...", nargs=-1, required=True)
@click.option(
    "--annotate", type=FOLDER, metavar="DIR", help="Write a copy of each picture with its faces marked."
)
@click.option(
    "--evidence",
    is_flag=True,
    help="With --annotate, colour each face of a picture by what points to a fake and what points against it. "
    "Copies that --resume finds stay as they are.",
)
@JSON
@click.option(
    "--jsonl", type=OUTPUT, metavar="FILE", help="Write a line of JSON for each picture as it is done."
)
@click.option("--csv", type=OUTPUT, metavar="FILE", help="Write a table for spreadsheets, one row per face.")
@click.option(
    "--engine",
    type=click.Choice(("local", "ray")),
    default="local",
    show_default=True,
    help="What distributes the work: processes on this machine, or Ray on many machines (pip install "
    "'facefake[ray]'), which also takes URIs such as s3://bucket/photos/ and needs --jsonl or --output.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="With --engine ray, the cluster, or auto for the one that this machine belongs to.  "
    "[default: RAY_ADDRESS, or this machine alone]",
)
@click.option(
    "--output",
    metavar="DIR",
    help="With --engine ray, write Parquet files with one row per picture to a folder, given by path or URI.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the file of --jsonl or the folder of --output: skip the pictures that it has a record of, "
    "failures included, unless their size or modification time has changed. Pictures that were judged and can no "
    "longer be found keep their records.",
)
@click.option("--retry-failures", is_flag=True, help="With --resume, try again the pictures that failed.")
@click.option(
    "--min-face",
    type=Finite(8, 30_000),
    metavar="PX",
    help="Smallest face to look for, in pixels. Faces that the model cannot judge are listed as not judged. "
    "Half the size takes four times as long.  [default: what the model can judge, usually 48]",
)
@click.option(
    "--alarm",
    type=Finite(0, 1, min_open=True, max_open=True),
    metavar="RATE",
    help="Largest share of pictures without a fake face that may be called fake.  "
    "[default: the model's, usually 0.01: one in a hundred]",
)
@MODEL
@click.option(
    "--runtime",
    type=click.Choice(("litert", "keras")),
    default="litert",
    show_default=True,
    help="What runs the model: LiteRT, or Keras, which is slower.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes that analyse pictures, one core each. 0: in this process, without limits on time or memory.  "
    "[default: all cores]",
)
@click.option(
    "--timeout",
    type=Finite(0, LONGEST_TIMEOUT, min_open=True),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Give up on a picture that takes longer than this, or a video that takes ten times as long.",
)
@click.option(
    "--worker-memory",
    type=click.IntRange(1, MOST_WORKER_MEMORY >> 20),
    default=WORKER_MEMORY >> 20,
    show_default=True,
    metavar="MIB",
    help="Give up on a picture that needs more memory than this, including half a GiB for the models.",
)
@click.option(
    "--max-faces",
    type=click.IntRange(1),
    default=MAX_FACES,
    show_default=True,
    metavar="N",
    help="Judge at most the N largest faces of a picture.",
)
@click.option(
    "--max-megabytes",
    type=Finite(0, 1_000_000, min_open=True),
    metavar="N",
    help="Refuse files of more than N times 1,048,576 bytes, except videos.  [default: 200]",
)
@click.option(
    "--max-megapixels",
    type=Finite(0, 1_000_000, min_open=True),
    metavar="N",
    help="Refuse larger pictures, and videos with larger frames. No side may exceed 30,000 pixels, whatever N is.  "
    "[default: 150]",
)
@click.option(
    "--frames-per-second",
    type=Finite(0, 1000, min_open=True),
    default=2.0,
    show_default=True,
    metavar="N",
    help="Look at this many frames per second of a video.",
)
@click.option(
    "--max-frames",
    type=click.IntRange(1),
    default=300,
    show_default=True,
    metavar="N",
    help="Look at no more than this many frames of a video, spread evenly over it.",
)
@click.option("-0", "--null", is_flag=True, help="Paths on standard input end with NUL, not a newline.")
@click.option("--fail-on-fake", is_flag=True, help="Exit with status 3 when a picture is called fake.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def scan(**options: Any) -> None:
    """Judge every face in pictures and folders of pictures.

    A folder stands for all pictures in it and below, a quoted pattern such as
    'in/**/*.jpg' for what it matches, and - for the paths on standard input.
    A name that begins with a dash is written ./-name.

    Videos (.mp4 .mov .m4v .webm .mkv .avi) are judged person by person, from
    frames throughout the clip; --annotate makes a contact sheet of each person,
    or of the 40 who look fakest. The model was trained on still pictures: what
    it says about video is less reliable, and its false-alarm rates were not
    measured there.

    \b
    Before you rely on it:
    - A verdict is statistics, not proof. "fake" means that few real pictures
      look like that (--alarm), "uncertain" that too many do, "real" that no
      face looks fake, not that the picture is authentic. A fake probability
      assumes that fake and real are equally likely beforehand.
    - Real pictures are called fake at the alarm rate, and more often if they
      are unlike those it was measured on. Fakes of unknown kinds are missed.
    - Small, blurred and cut-off faces are not judged. For what the model is
      known to fail on, see facefake info and models/README.md.

    A face's false-alarm rate is the share of real faces that look at least as
    fake; if it has little fine detail, of real faces with as little. With three
    or more other faces in the picture, it allows for how real those look. A
    picture's rate allows for its number of faces. --jsonl and --csv write
    files instead of tables on the screen; in these, pictures are in the order
    in which they were finished.

    Exit status: 0 done; 1 some pictures failed, all others have results;
    2 wrong usage, or the scan could not be started or finished; 3 a fake was
    found and --fail-on-fake was given, whether or not pictures failed. The
    status is that of this run, not of the records that --resume found.
    """
    from facefake.scan_command import Scan

    Scan(**options).run()


@main.command(
    epilog=examples(
        "report results.jsonl --html report.html", "report results.jsonl --csv results.csv --force"
    )
)
@click.argument("records", metavar="RESULTS.jsonl", type=FILE)
@click.option(
    "--html",
    type=OUTPUT,
    metavar="FILE",
    help="Write a page for browsing the faces, with small pictures.",
)
@click.option("--csv", type=OUTPUT, metavar="FILE", help="Write a table for spreadsheets, one row per face.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def report(records: Path, html: Path | None, csv: Path | None, force: bool) -> None:
    """Make a page or a table from a scan's records.

    RESULTS.jsonl is what facefake scan --jsonl wrote; the scan may still be
    running. The page is one file that needs no network. Its thumbnails are made
    from the pictures, which should still be where they were.
    """
    from facefake import terminal
    from facefake.html_report import write_html
    from facefake.journal import read_latest
    from facefake.report import write_csv
    from facefake.saving import check_whole_file
    from facefake.scan_command import same_file

    if not (html or csv):
        raise click.UsageError("expected --html or --csv, got neither")
    if html and csv and same_file(html, csv):
        raise click.UsageError(f"expected two files, got {html} for both --html and --csv")
    for file in filter(None, (html, csv)):
        if same_file(file, records):
            raise click.UsageError(f"expected an output file other than the records, got {file}")
        check_whole_file(file, force, through=True)
    err = terminal.console(stderr=True)

    def warn(message: str) -> None:
        err.print(f"Warning: {terminal.printable(message)}", soft_wrap=True)

    if csv:
        write_csv(read_latest(records, warn)(), csv, force)
    if html:
        with terminal.progress("records", err) as bar:
            write_html(records, html, force=force, warn=warn, progress=bar)


@main.command(epilog=examples("info", "info --model runs/mine --json"))
@MODEL
@JSON
def info(model: Path | None, as_json: bool) -> None:
    """Show versions and the model's limits, and run its self-test."""
    from facefake import terminal
    from facefake.about import describe, versions
    from facefake.classifier import Classifier

    out = terminal.console()
    if not as_json:  # before the model is loaded: if that fails, they help to find out why
        out.print(terminal.table(["Software", "Version"], versions().items()), "")
    bundle = Classifier(model).bundle  # raises ModelError when the self-test fails
    known = {**describe(bundle), "self_test": "passed"}
    if as_json:
        whole = {"versions": versions(), "model": {**known, "card": bundle.card}}
        click.echo(json.dumps(whole, indent=2))
        return
    weaknesses = known.pop("weaknesses")
    limits = {name: known["calibration"][name] for name in _LIMITS}
    out.print(terminal.table(["Model", ""], terminal.details({**known, "calibration": limits})), "")
    if weaknesses:
        headers = ["Where it fails: on faces that it never saw, it"]
        out.print(terminal.table(headers, [[line] for line in weaknesses]))
        out.print(
            "Clean: unchanged; web: at most 768 pixels, JPEG quality 60; hard: at most 512 pixels, quality 40.\n"
        )
    out.print("models/README.md says more; --json prints all that the bundle says about itself.")


main.add_command(train)
main.add_command(evaluate)
