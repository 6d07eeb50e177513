"""Pytest fixtures: a box for a module, checked for mistakes of its own at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ovirtbox.box import Box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """An oVirt for the tests of one module."""
    with Box.start(tmp_path_factory.mktemp("box")) as started:
        yield started
        assert not started.engine.bugs, f"the box itself failed: {started.engine.bugs[:5]}"
