"""What a backup begins with."""

from __future__ import annotations

from typing import Any

import pytest

from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.begin import without_use
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.ovirt.facts.model import DiskFacts


@pytest.mark.parametrize(
    ("formats", "mode", "kept"),
    [
        (["raw", "raw"], "image", False),
        (["raw", "cow"], "image", True),
        (["raw"], "chain", True),
    ],
)
def test_a_base_that_no_disk_can_use_is_not_spoken_of(formats: list[str], mode: str, kept: bool) -> None:
    disks = [DiskFacts(str(n), "", 1, form, True, "image") for n, form in enumerate(formats)]
    base: Any = object()
    choice = without_use(Choice(base, None, fallback=True, cell=4), disks, CreateOptions(mode=mode))
    assert (choice.base is base) == kept
    assert choice.cell == 4
    if not kept:
        assert (choice.reason, choice.fallback) == ("raw disks keep no record of changes", False)
