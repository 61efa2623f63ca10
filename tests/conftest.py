from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Deadlines of single examples only tell how busy the machine is.
settings.register_profile("facefake", deadline=None)
settings.load_profile("facefake")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data beside the checkout, which a user who clones the project does not have."""
    folder = ROOT.parent / "shared"
    if not (folder / "groups").is_dir():
        pytest.skip("needs the development pictures in ../shared, which are not part of the project")
    return folder
