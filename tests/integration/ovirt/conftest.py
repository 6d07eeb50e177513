"""What the left bank is tested on: a daemon without an engine, and an oVirt in a box."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ovirt_bed import PATIENCE, Bed
from ovirtbox.box import Box
from ovirtbox.fixtures import box as box

from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.journal import Journal


@pytest.fixture(scope="session")
def _bed() -> Iterator[Bed]:
    root = Path(tempfile.mkdtemp(prefix="bed-", dir="/tmp"))
    bed = Bed(root)
    yield bed
    bed.close()
    shutil.rmtree(root)


@pytest.fixture
def bed(_bed: Bed) -> Iterator[Bed]:
    yield _bed
    _bed.clear()


@pytest.fixture
def access(box: Box) -> EngineAccess:
    return EngineAccess(box.url, box.user, box.password, box.ca_file)


@pytest.fixture
def engine(access: EngineAccess) -> Iterator[Engine]:
    with Engine(access, patience=PATIENCE) as opened:
        yield opened


@pytest.fixture
def journal(engine: Engine, tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "state", engine.instance_id) as opened:
        yield opened
        assert opened.unfinished == []


@pytest.fixture(autouse=True)
def _left_as_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does to the box, nothing may be left in it."""
    yield
    if "box" in request.fixturenames:
        box = request.getfixturevalue("box")
        box.inject.clear()
        assert box.clean() == []
