"""The native libraries beneath MediaPipe, OpenCV and Pillow: imported sparingly, named when missing, kept quiet."""

from __future__ import annotations

import builtins
import ctypes
import importlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import Any

from facefake.errors import MissingLibraryError

# The Debian packages with the libraries that the MediaPipe and OpenCV wheels link to but do not contain.
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

# MediaPipe imports these if they are installed, and neither is of use here: tensorflow, for its documentation,
# takes seconds, and sounddevice, for microphones, runs a compiler in search of a system library.
_NEEDLESS = ("tensorflow", "sounddevice")

# It imports this one to plot landmarks in 3D: matplotlib looks for fonts, and where it cannot write to the home folder,
# every process leaves a temporary folder behind.
_SELDOM = ("matplotlib", "matplotlib.pyplot")

_CHATTER = re.compile(
    rb"[IW]\d{4} .*\.cc:\d+\] "
    rb"|(INFO|WARNING|VERBOSE): (\[\S+\.cc:\d+\] |Created |Logging before |All log messages)"
    rb"|\[[\d-]+ [\d:,]+ I \d+ \d+\] logging\.cc:\d+: "
)


def lock_awaited_by_forks() -> threading.RLock:
    """A new lock, which lives as long as the process, that no other thread holds when one of them forks.

    A child has none of the other threads, so nobody there would release what one of them holds.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


_lock = lock_awaited_by_forks()  # held while this process's import function or file descriptor 2 is replaced


@contextmanager
def naming_missing_libraries() -> Iterator[None]:
    """Around an import: turns the dynamic linker's error into one that a person can act on.

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
        package = _PACKAGES.get(library, "the package that contains it")
        raise MissingLibraryError(
            f"expected the system library {library}, found none: on Debian or Ubuntu install {package}"
        ) from error


class _Later(ModuleType):
    """A stand-in for a module that is imported on first use."""

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


def import_mediapipe() -> ModuleType:
    """The package mediapipe, imported without the heavy packages that it does not need, or does not need yet.

    Raises:
        MissingLibraryError: a system library is not installed.
    """
    with _lock, naming_missing_libraries():
        if "mediapipe" in sys.modules:
            return importlib.import_module("mediapipe")
        usual = builtins.__import__
        later, plots = map(_Later, _SELDOM)
        later.__dict__["pyplot"] = plots

        # Only for imports in MediaPipe's own modules: stand-ins in sys.modules would be seen by other threads as well.
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
            if builtins.__import__ is lean:  # another thread may have replaced it meanwhile
                builtins.__import__ = usual


@contextmanager
def quiet() -> Iterator[Callable[[], bytes]]:
    """Suppresses the chatter of native code on file descriptor 2; its errors, and all else, are passed on at the end.

    Yields a function that returns what has been held back so far. For short moments only: what other threads write to
    standard error waits as well, and what a process that one of them starts meanwhile writes there is lost for good.
    """
    with _lock:
        try:
            # In memory: a container may have no folder to write to. Closed below, and opened before the redirection.
            held = open(os.memfd_create("facefake-stderr"), "w+b")  # noqa: SIM115
            stderr = os.dup(2)
        except OSError:  # no memory to hold it, or nothing to hold back
            yield bytes  # a function as well, which returns nothing held back
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
    """Removes, for this process, the two handlers with which Pillow's libtiff writes to file descriptor 2.

    They print what is wrong with damaged pictures, line after line; Pillow raises an error for these anyway. Unlike
    `quiet`, this holds up no other thread.
    """
    from PIL import _imaging

    # Looked up through the extension that is linked to it, so that the symbols are those of the very libtiff in use.
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter(None)
