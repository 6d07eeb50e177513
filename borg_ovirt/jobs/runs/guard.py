"""Watches the room on storage domains: a backup may not be what fills one, for that pauses every VM on it.

Scratch disks and temporary snapshots grow on the domain while a backup runs. So no backup starts on a domain
below the limit, and one that runs is ended when the limit is reached.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from borg_ovirt.config.types import Room
from borg_ovirt.errors import BorgOvirtError, DomainFull
from borg_ovirt.ovirt.facts.inventory import domain_room
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.pipe.watched import Alarm
from borg_ovirt.units import format_size

EVERY = 15.0
"""Seconds between two looks during a backup; the engine itself learns the room about as often."""


class Guard:
    """Knows how much must stay free; None guards nothing."""

    def __init__(self, engine: Engine, min_free: Room | None, *, every: float = EVERY) -> None:
        self._engine = engine
        self._min_free = min_free
        self._every = every

    def check(self, domains: Collection[str]) -> None:
        """Raise `DomainFull` when one of the domains (ids) is below the limit."""
        if self._min_free is None:
            return
        rooms = domain_room(self._engine)
        for domain_id in sorted(domains):
            room = rooms.get(domain_id)
            if room is None:
                continue
            limit = self._min_free.bytes_of(room.total)
            if room.available < limit:
                raise DomainFull(
                    f"Storage domain {room.name} has {format_size(room.available)} free, "
                    f"{format_size(limit)} must stay free ({self._min_free}).",
                    "Make room on it, or lower limits.min_free in the configuration.",
                )

    @contextmanager
    def watching(self, domains: Collection[str], alarm: Alarm) -> Iterator[None]:
        """Check before, and ring the alarm when a domain falls below the limit meanwhile."""
        self.check(domains)
        if self._min_free is None:
            yield
            return
        over = threading.Event()

        def watch() -> None:
            while not over.wait(self._every):
                try:
                    self.check(domains)
                except DomainFull as full:
                    alarm.ring(full)
                    return
                except BorgOvirtError:
                    continue  # an engine that does not answer says nothing about its domains

        watcher = threading.Thread(target=watch, name="domain-guard", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
