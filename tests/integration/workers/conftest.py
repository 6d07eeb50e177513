"""A box for each module, and a desk with several repositories for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import BIN, Desk
from ovirtbox.box import Box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box.start(tmp_path_factory.mktemp("box")) as started:
        yield started


@pytest.fixture
def desk(box: Box, tmp_path: Path) -> Iterator[Desk]:
    """Its first repository is `repokey`; `served` locations go through a `borg serve` of this machine."""
    script = tmp_path / "rsh"
    script.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    script.chmod(0o755)
    yield Desk(
        box,
        tmp_path,
        BORG_RSH=str(script),
        BORG_REMOTE_PATH=str(BIN / "borg"),
        BORG_RELOCATED_REPO_ACCESS_IS_OK="yes",
    )
    box.inject.clear()
