"""A box for each module, and a bench with a repository for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chainbench import Bench
from ovirtbox.box import Box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box.start(tmp_path_factory.mktemp("box")) as started:
        yield started
        assert not started.engine.bugs


@pytest.fixture
def bench(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("BORG_BASE_DIR", str(tmp_path / "borg"))
    monkeypatch.setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
    monkeypatch.setenv("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
    yield Bench(box, tmp_path)
    box.inject.clear()
