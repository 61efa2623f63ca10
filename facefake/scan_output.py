"""What `facefake scan` shows the user: results, progress, errors, and how it ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facefake import terminal
from facefake.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

    from facefake.analyst import Record


class Tables:
    """Results on standard output, and hints on reading them."""

    def __init__(self) -> None:
        self.out = terminal.console()
        self.place = ""  # of the next picture among all of them, as "3 of 7  "
        self._crowded = False
        self._smallest: float | None = None

    def show(self, record: Record) -> None:
        """Print a result; errors are reported elsewhere."""
        from facefake.results import ImageResult
        from facefake.video import VideoResult

        shown = self.out.width, self.out.options.ascii_only
        if isinstance(record, VideoResult):
            self.out.print(terminal.video(record, self.place + record.path, *shown), crop=False)
        elif isinstance(record, ImageResult):
            self._crowded = self._crowded or len(record.faces) > 1
            if record.faces and record.settings:  # without faces, the summary mentions it
                self._smallest = record.settings.min_face
            heading = self.place + (record.path or "")
            self.out.print(terminal.picture(record, heading, *shown), crop=False)

    def hint(self, err: Console, marked: bool, all_sizes: bool) -> None:
        """Say how to see more: unless faces were marked, how to mark them; unless a size was chosen, how to find more."""
        from facefake.wording import pixels

        if self._crowded and not marked:
            err.print(
                "Faces are numbered from left to right; --annotate DIR marks them on a copy of the picture."
            )
        if self._smallest and not all_sizes:
            least = pixels(self._smallest)
            err.print(f"Faces smaller than {least} pixels were not looked for; --min-face PX finds them.")


class Told:
    """What a scan has reported so far, and how it ends."""

    def __init__(self) -> None:
        self.err = terminal.console(stderr=True)
        self.verdicts: Counter[str] = Counter()
        self._videos = 0  # of all that got a verdict
        self._faults = 0  # apart from the pictures'
        # By whether the file was found, and whether it is a video.
        self._left_out: Counter[tuple[bool, bool]] = Counter()

    @property
    def worst(self) -> str:
        """What a progress bar says beside the number of files."""
        return terminal.counts(self.verdicts, ("fake", "error"))

    def verdict(self, path: str | None, verdict: str, error: str | None) -> None:
        """Count a picture or video, and report an error if it could not be analysed."""
        from facefake.sources import is_video

        self.verdicts[verdict] += 1
        self._videos += is_video(path or "")
        if error is not None:
            self._complain(error)

    def copy(self, copy: Path | OutputError) -> None:
        """Name an annotated copy, or report why there is none."""
        if isinstance(copy, OutputError):
            self.fault(str(copy))
        else:
            self.err.print(f"Annotated: {terminal.printable(str(copy))}", soft_wrap=True)

    def left_out(self, path: str, found: bool) -> None:
        """Count a picture or video that has a record already."""
        from facefake.sources import is_video

        self._left_out[found, is_video(path)] += 1

    def end(self, fail_on_fake: bool) -> None:
        """Say how many pictures and videos got which verdict, and exit unless the status is 0."""
        for found, why in ((True, "recorded already"), (False, "recorded before, but not found now")):
            if left_out := terminal.media(self._left_out[found, False], self._left_out[found, True]):
                self.err.print(f"{left_out} left out: {why}.")
        if (total := self.verdicts.total()) > 1:
            scanned = terminal.media(total - self._videos, self._videos)
            self.err.print(f"{scanned}: {terminal.counts(self.verdicts)}.")
        if fail_on_fake and self.verdicts["fake"]:
            raise click.exceptions.Exit(3)
        if self.verdicts["error"] or self._faults:
            raise click.exceptions.Exit(1)

    def fault(self, message: str) -> None:
        """Report an error that is not about one picture."""
        self._faults += 1
        self._complain(message)

    def _complain(self, message: str) -> None:
        self.err.print(f"Error: {terminal.printable(message)}", style="bold red", soft_wrap=True)
