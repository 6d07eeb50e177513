"""A box for each module, and a desk with an encrypted repository for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chainbench import Bench
from harness import Desk
from ovirtbox.box import Box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box.start(tmp_path_factory.mktemp("box")) as started:
        yield started


@pytest.fixture
def desk(box: Box, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(box, tmp_path)
    box.inject.clear()


@pytest.fixture
def bench(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The same in one process, so that a test can put its hand in."""
    monkeypatch.setenv("BORG_BASE_DIR", str(tmp_path / "borg"))
    monkeypatch.setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
    yield Bench(box, tmp_path)
    box.inject.clear()
