"""What a backup says of itself besides its numbers."""

from __future__ import annotations

from dataclasses import replace

from borg_ovirt.jobs.backup.wording import notes
from borg_ovirt.ovirt.facts.model import VmFacts

VM = VmFacts("vm-1", "web01", "up", "c-1", "Default", (4, 7))


def test_what_does_not_come_back_is_told() -> None:
    assert list(notes(VM)) == []
    (told,) = notes(replace(VM, next_run=True))
    assert "waits for its next start" in told
    (told,) = notes(replace(VM, quota="q-1"))
    assert "quota is not restored" in told
