"""Writes models/licences/THIRD_PARTY_NOTICES.txt: every package that facefake needs to run, and its licence.

    python .ci/notices.py            writes it
    python .ci/notices.py --check    says what has changed, and exits with 1 if anything has

Takes what the installed packages say of themselves, so it is run where .ci/requirements.lock is installed.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NOTICES = ROOT / "models" / "licences" / "THIRD_PARTY_NOTICES.txt"
OPTIONAL = ("heif", "c2pa", "ray")
# What the licence files say of packages that do not say it, or not all of it, in a field.
_BY_HAND = {
    "namex": "Apache-2.0",
    "pillow-heif": "BSD-3-Clause; its wheels, which hold libheif, libde265 and x265: GPL-2.0",
}
_HEAD = """\
Packages that facefake needs to run, itself or by way of another, and their licences. None of them is part of this
repository; the installer fetches them. Made by .ci/notices.py from what the packages say of themselves. Their wheels
carry native libraries besides, such as OpenCV's FFmpeg (LGPL-2.1), whose licences lie in the packages. c2pa-python,
cryptography, pillow-heif, ray and what ray needs come with facefake's extras only.

"""


def needed() -> dict[str, set[str]]:
    """Canonical name → extras of all packages that facefake needs here, optional ones included if installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for name in OPTIONAL for line in project["optional-dependencies"][name]),
    ]
    found: dict[str, set[str]] = {}
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found and requirement.extras <= found[name]:
            continue
        try:
            below = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        extras = found.setdefault(name, set()) | requirement.extras
        found[name] = extras
        for line in below:
            child = Requirement(line)
            if child.marker is None or any(
                child.marker.evaluate({"extra": extra}) for extra in {"", *extras}
            ):
                waiting.append(child)
    return found


def licence(name: str) -> str:
    """What an installed package says of its licence, on one line."""
    if name in _BY_HAND:
        return _BY_HAND[name]
    said = metadata.metadata(name)
    if expression := said.get("License-Expression"):
        return expression
    classifiers = [
        line.split(" :: ")[-1] for line in said.get_all("Classifier") or [] if line.startswith("License :: ")
    ]
    named = [text for text in classifiers if text != "OSI Approved"]
    short = (said.get("License") or "").strip()
    if short and "\n" not in short and len(short) < 60:
        return short
    return " AND ".join(named) or "unknown"


def notices() -> str:
    """The whole text."""
    rows = sorted((name, licence(name)) for name in needed())
    width = max(len(name) for name, _ in rows)
    return _HEAD + "".join(f"{name:{width}}  {text}\n" for name, text in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        NOTICES.write_text(notices(), encoding="utf-8")
        return
    before = set(NOTICES.read_text(encoding="utf-8").splitlines())
    after = set(notices().splitlines())
    if before != after:
        sys.exit(
            "\n".join([f"- {line}" for line in before - after] + [f"+ {line}" for line in after - before])
        )


if __name__ == "__main__":
    main()
