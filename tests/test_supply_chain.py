"""What is installed is what was tested, by its hash, and its licences are told."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / ".ci" / "requirements.lock"
NOTICES = ROOT / "models" / "licences" / "THIRD_PARTY_NOTICES.txt"

pytestmark = pytest.mark.skipif(not LOCK.is_file(), reason="needs a checkout")


@pytest.fixture(scope="module")
def locked() -> dict[str, list[tuple[Requirement, str]]]:
    """By name, what the lock file says, and the hashes below it."""
    entries: dict[str, list[tuple[Requirement, str]]] = {}
    for entry in re.split(r"\n(?=[a-z])", LOCK.read_text()):
        first, _, rest = entry.partition(" \\\n")
        if not first.startswith("#"):
            requirement = Requirement(first)
            entries.setdefault(canonicalize_name(requirement.name), []).append((requirement, rest))
    return entries


def test_every_requirement_is_locked_to_one_version_that_it_allows(locked: dict) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del extras["stores"]  # which has an environment of its own, see .ci/lock
    groups = [project["dependencies"], *extras.values()]
    wanted = [Requirement(line) for group in groups for line in group]
    assert len(wanted) > 10
    for requirement in wanted:
        for pin, _ in locked[canonicalize_name(requirement.name)]:
            ((_, version),) = [(item.operator, item.version) for item in pin.specifier]
            assert requirement.specifier.contains(version), (
                f"run .ci/lock: {requirement} is locked to {version}"
            )


def test_everything_locked_has_its_hashes_and_names_no_place(locked: dict) -> None:
    for entries in locked.values():
        for pin, hashes in entries:
            assert [item.operator for item in pin.specifier] == ["=="]
            assert re.fullmatch(r"( +--hash=sha256:[0-9a-f]{64}( \\)?\n?)+", hashes), pin
    assert "//" not in LOCK.read_text()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("notices", ROOT / ".ci" / "notices.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_licence_of_everything_that_runs_is_told(locked: dict, script: ModuleType) -> None:
    lines = NOTICES.read_text().split("\n\n", 1)[1].splitlines()
    told = dict(re.split(r"  +", line, maxsplit=1) for line in lines)
    assert set(script.needed()) <= set(told)
    assert "unknown" not in told.values() and all(told.values())
    for name in script.needed():
        versions = {item.version for pin, _ in locked.get(name, []) for item in pin.specifier}
        if metadata.version(name) in versions:  # with another release, other words may have been chosen
            assert told[name] == script.licence(name), "run .ci/notices.py"


def test_scheduled_checks_run_pinned_actions_with_few_rights() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    for path in workflows:
        text = path.read_text()
        used = re.findall(r"uses: (\S+)", text)
        assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in used)
        assert "permissions:\n  contents: read\n" in text
        assert "://" not in text
