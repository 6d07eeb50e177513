"""The way of a backup is chosen by what it holds up, and why is told."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.blocks import GiB, MiB
from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.jobs.backup.way import expected_read, why_locked
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts

DISK = DiskFacts("d-1", "root", 100 * GiB, "cow", True, "image", actual_size=20 * GiB)
NEVER_READ = -1


def choice(last_read: int | None) -> Choice:
    base: Any = SimpleNamespace(name="web01-1", last_read=None if last_read == NEVER_READ else last_read)
    return Choice(None if last_read is None else base, None, fallback=False)


@pytest.mark.parametrize(
    ("status", "last_read", "limit", "preferred"),
    [
        ("up", 100 * MiB, 120, True),
        ("up", 100 * MiB, 10, False),  # it would not be over
        ("up", 100 * MiB, 0, False),
        ("up", 100 * MiB, None, False),  # the engine's own
        ("up", 50 * GiB, 120, False),
        ("up", NEVER_READ, 120, False),  # nothing tells of the first increment
        ("up", None, 120, False),  # a full read of 20 GiB
        ("up", None, 3600, True),
        ("down", NEVER_READ, 120, True),
        ("down", None, 120, False),  # it could not be started for long
    ],
)
def test_what_is_soon_over_locks_the_vm(
    status: str, last_read: int | None, limit: int | None, preferred: bool
) -> None:
    vm = VmFacts("v-1", "web01", status, "c-1", "Default", (4, 7))
    options = CreateOptions(lock_limit=None if limit is None else timedelta(seconds=limit))
    reason = why_locked(vm, choice(last_read), [DISK], options)
    assert (reason is not None) == preferred
    if reason:
        assert "to read: soon done without a snapshot to merge" in reason
        assert ("started" if status == "down" else "migrate and stop") in reason


def test_what_is_sampled_counts_too() -> None:
    vm = VmFacts("v-1", "web01", "up", "c-1", "Default", (4, 7))
    options = CreateOptions(lock_limit=timedelta(minutes=2))
    large = DiskFacts("d-1", "root", 100 * 1024 * GiB, "cow", True, "image")
    assert why_locked(vm, choice(0), [large], options) is None  # a thousandth of it is 100 GiB


def test_what_is_to_be_expected() -> None:
    assert expected_read(choice(5), [DISK]) == 5
    assert expected_read(choice(NEVER_READ), [DISK]) is None
    assert expected_read(choice(None), [DISK]) == 20 * GiB
