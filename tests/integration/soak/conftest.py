"""A box for each module, and a desk with an encrypted repository for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
