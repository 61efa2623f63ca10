"""Every error that facefake raises on purpose has one root, `FaceFakeError`."""

from __future__ import annotations

from facefake.record_values import message_text, path_text


class FaceFakeError(Exception):
    """Root of all errors that facefake raises on purpose."""


class ImageError(FaceFakeError):
    """A picture that cannot be read. Its message is one line of printable characters, whatever its path is.

    Attributes:
        path: the picture's path as text, or None when it did not come from a file.
        kind: a short machine-readable class of the fault, such as "truncated" or "too_large".
        expected: what a readable picture would have been.
        got: what came instead.
    """

    def __init__(self, *, path: str | None, kind: str, expected: str, got: str) -> None:
        self.path = path
        self.kind = kind
        self.expected = expected
        self.got = got
        where = "picture" if path is None else path_text(path)
        super().__init__(f"{where}: {message_text(f'expected {expected}, got {got}')}")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and worker processes send errors home.
        return (_image_error, (self.path, self.kind, self.expected, self.got))


def _image_error(path: str | None, kind: str, expected: str, got: str) -> ImageError:
    return ImageError(path=path, kind=kind, expected=expected, got=got)


class ModelError(FaceFakeError):
    """A model bundle that is missing, damaged, unsafe, or computes other numbers than it was shipped with."""


class DatasetError(FaceFakeError):
    """Training or evaluation data that is not laid out as expected."""


class OutputError(FaceFakeError):
    """A result that cannot be written where it was asked for."""


class RecordError(FaceFakeError):
    """A file that should hold the records of a scan but holds something else."""


class MissingLibraryError(FaceFakeError):
    """A system library, or a package of one of facefake's extras, is not installed; the message says what to install."""
