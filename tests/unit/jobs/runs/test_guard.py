"""No backup starts on a domain that is nearly full, and one that runs is ended before it fills it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from unit.ovirt.script import Answer, Script

from borg_ovirt.config.types import Room
from borg_ovirt.errors import DomainFull
from borg_ovirt.jobs.runs.guard import Guard
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.pipe.watched import Alarm


def domains(available: int) -> str:
    return (
        f"<storage_domains><storage_domain id='sd-1'><name>nfs1</name><available>{available}</available>"
        f"<used>{1000 - available}</used></storage_domain></storage_domains>"
    )


@pytest.mark.parametrize(
    ("room", "available", "full"),
    [
        (Room(share=0.1), 100, False),
        (Room(share=0.1), 99, True),
        (Room(size=500), 499, True),
        (Room(size=500), 500, False),
        (None, 0, False),
    ],
)
def test_no_backup_starts_below_the_limit(
    script: Script, engine: Engine, room: Room | None, available: int, full: bool
) -> None:
    script.on("GET", "/storagedomains", domains(available))
    guard = Guard(engine, room)
    guard.check(["another"])
    if full:
        with pytest.raises(DomainFull, match="nfs1"):
            guard.check(["sd-1"])
    else:
        guard.check(["sd-1"])


class Bell(Alarm):
    """An alarm that says when it rang."""

    def __init__(self) -> None:
        super().__init__()
        self.rang = threading.Event()

    def ring(self, error: Exception) -> None:
        super().ring(error)
        self.rang.set()


def test_the_alarm_rings_when_it_fills_and_not_when_the_engine_is_away(
    script: Script, engine: Engine
) -> None:
    bell = Bell()
    away: Any = Answer(403, "<fault/>")
    script.on("GET", "/storagedomains", domains(500), away, away, domains(500), domains(50))
    with Guard(engine, Room(share=0.1), every=0.005).watching(["sd-1"], bell):
        assert bell.rang.wait(20)
    assert len(script.asked("GET", "/storagedomains")) == 5
    with pytest.raises(DomainFull):
        bell.check()
