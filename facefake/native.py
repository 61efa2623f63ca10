"""The native libraries beneath MediaPipe, OpenCV and Pillow: imported lean, named when missing, kept quiet."""

from __future__ import annotations

import builtins
import ctypes
import importlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import Any

from facefake.errors import MissingLibraryError

# Debian's packages for what the wheels of MediaPipe and OpenCV link to but do not bring along.
_PACKAGES = {
    "libEGL.so": "libegl1",
    "libGLESv2.so": "libgles2",
    "libGL.so": "libgl1",
    "libglib-2.0.so": "libglib2.0-0",
    "libgthread-2.0.so": "libglib2.0-0",
    "libX11.so": "libx11-6",
    "libX11-xcb.so": "libx11-xcb1",
    "libxcb.so": "libxcb1",
}

# MediaPipe imports these if they are there, and neither is of use here: tensorflow, for its documentation,
# takes seconds, and sounddevice, for microphones, runs a compiler in search of a system library.
_NEEDLESS = ("tensorflow", "sounddevice")

# And this one to plot landmarks in three dimensions: it looks for fonts, and where it cannot write to the home folder
# each process leaves a temporary one.
_SELDOM = ("matplotlib", "matplotlib.pyplot")

_CHATTER = re.compile(
    rb"[IW]\d{4} .*\.cc:\d+\] "
    rb"|(INFO|WARNING|VERBOSE): (\[\S+\.cc:\d+\] |Created |Logging before |All log messages)"
    rb"|\[[\d-]+ [\d:,]+ I \d+ \d+\] logging\.cc:\d+: "
)


def lock_awaited_by_forks() -> threading.RLock:
    """A new lock, kept as long as the process, that no other thread holds when one of them forks.

    A child has none of the other threads, so nobody there would give back what one of them holds.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


_lock = lock_awaited_by_forks()  # held while this process's import function or file descriptor 2 is changed


@contextmanager
def naming_missing_libraries() -> Iterator[None]:
    """Around an import: turns the dynamic linker's complaint into one that a person can act on.

    Raises:
        MissingLibraryError: a system library is not installed.
    """
    try:
        yield
    except (ImportError, OSError) as error:
        found = re.search(r"(lib[\w.+-]+?\.so)[.\d]*: cannot open shared object", str(error))
        if found is None:
            raise
        library = found.group(1)
        package = _PACKAGES.get(library, "the package that holds it")
        raise MissingLibraryError(
            f"expected the system library {library}, found none: on Debian or Ubuntu install {package}"
        ) from error


class _Later(ModuleType):
    """Stands for a module that is imported when somebody asks it for something."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


def import_mediapipe() -> ModuleType:
    """The package mediapipe, imported without the heavy packages that it does not need, or not yet.

    Raises:
        MissingLibraryError: a system library is not installed.
    """
    with _lock, naming_missing_libraries():
        if "mediapipe" in sys.modules:
            return importlib.import_module("mediapipe")
        usual = builtins.__import__
        later, plots = map(_Later, _SELDOM)
        later.__dict__["pyplot"] = plots

        # For what MediaPipe's own modules import: stand-ins in sys.modules would be met by other threads as well.
        def lean(name: str, names: Mapping[str, Any] | None = None, *rest: Any, **others: Any) -> Any:
            package = name.partition(".")[0]
            if package not in sys.modules and str((names or {}).get("__name__")).startswith("mediapipe."):
                if package in _NEEDLESS:
                    raise ModuleNotFoundError(f"expected to do without {package}", name=package)
                if package in _SELDOM:
                    return later
            return usual(name, names, *rest, **others)

        builtins.__import__ = lean  # type: ignore[assignment]
        try:
            return importlib.import_module("mediapipe")
        finally:
            if builtins.__import__ is lean:  # and not what another thread has put there
                builtins.__import__ = usual


@contextmanager
def quiet() -> Iterator[Callable[[], bytes]]:
    """Holds back what native code chats to file descriptor 2; its errors, and all else, pass at the end.

    Gives a function that returns what is held back so far. For short moments only: other threads' lines to standard
    error wait as well, and what a process that one of them starts meanwhile writes there is lost for good.
    """
    with _lock:
        try:
            held = tempfile.TemporaryFile()  # noqa: SIM115 - closed below, and opened before the redirection
            stderr = os.dup(2)
        except OSError:  # nowhere to hold it, or nothing to hold back
            yield bytes  # a function, too: of nothing
            return
        with held:
            os.dup2(held.fileno(), 2)
            try:
                yield lambda: os.pread(held.fileno(), os.fstat(held.fileno()).st_size, 0)
            finally:
                os.dup2(stderr, 2)
                held.seek(0)
                for line in held:
                    if not _CHATTER.match(line):
                        with suppress(OSError):  # nobody may be there to read it
                            os.write(stderr, line)
                os.close(stderr)


@cache
def hush_libtiff() -> None:
    """Takes away the two functions with which Pillow's libtiff writes to file descriptor 2, for this process.

    What it writes are the faults of damaged pictures, line after line; Pillow raises for each such picture anyway.
    Unlike `quiet` this holds up no other thread.
    """
    from PIL import _imaging

    # Looked up through the extension that is linked to it, the symbols are those of the very libtiff in use.
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter(None)
