"""Several repositories as the job sees them: one store; its bases and archives are theirs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from borg_ovirt.errors import BorgOvirtError, UsageError
from borg_ovirt.jobs.base import BaseQuery, Choice
from borg_ovirt.jobs.fanout.base import FanStart
from borg_ovirt.jobs.fanout.group import Group
from borg_ovirt.jobs.fanout.link import Link
from borg_ovirt.jobs.fanout.sink import FanSink
from borg_ovirt.jobs.fanout.wire import Spec
from borg_ovirt.jobs.stores import Stored
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.repository import layout

STALL = 300.0
"""Seconds that one repository may keep the others waiting."""


@contextmanager
def open_together(specs: Sequence[Spec], stall: float = STALL) -> Iterator[FanStore]:
    """Open every repository in a process of its own. One that cannot be opened is left out."""
    with Group(specs, stall) as group:
        yield FanStore(group)


class FanStore:
    """Several repositories that take the same backup."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._needs: dict[Link, set[str]] = {}
        self._told = 0
        self._archive: _FanArchive | None = None
        self.ids = [link.id for link in group.live if link.id]

    def series_cell(self, vm_id: str) -> int | None:
        """The grid that the series of all have in common."""
        found = {link: cell for link, cell in self._group.ask("series_cell", vm_id).items() if cell}
        if len(set(found.values())) > 1:
            told = ", ".join(f"{cell} in {link.location}" for link, cell in found.items())
            raise UsageError(
                f"The repositories hold this VM in chunks of different sizes: {told}.",
                "Back it up into each by itself.",
            )
        return next(iter(found.values()), None)

    def needed(self, vm_id: str) -> set[str]:
        """The checkpoints from which the next backups of the VM would start."""
        self._needs = self._group.ask("needed", vm_id)
        return set().union(*self._needs.values())

    def still_needed(self) -> set[str]:
        """Those of the repositories that were lost: they go on from where they were."""
        lost = [link for link, _ in self._group.lost]
        return set().union(*(self._needs.get(link, set()) for link in lost))

    def choose(self, query: BaseQuery) -> Choice:
        """The oldest of their checkpoints; where one has none, all is read."""
        offers = self._group.ask("choose", query, patient=True)
        without = {link: offer for link, offer in offers.items() if offer.name is None}
        if without:
            reasons: dict[str, list[str]] = {}
            for link, offer in without.items():
                reasons.setdefault(offer.reason, []).append(link.location)
            if len(without) == len(offers) and len(reasons) == 1:
                told = next(iter(reasons))
            else:
                told = "; ".join(f"{', '.join(places)}: {reason}" for reason, places in reasons.items())
            return Choice(None, told, fallback=any(offer.fallback for offer in without.values()))
        order = list(query.checkpoints)
        oldest = min((offer.checkpoint for offer in offers.values()), key=order.index)
        name = ", ".join(sorted({offer.name for offer in offers.values()}))
        return Choice(FanStart(self._group, name, oldest), None, fallback=False)

    def all_names(self) -> set[str]:
        """The names that are taken in any of them."""
        return set().union(*self._group.ask("all_names").values())

    @contextmanager
    def writer(self, name: str, *, started: datetime) -> Iterator[_FanArchive]:
        """The same archive in each."""
        self._group.tell("begin", name, started)
        self._archive = _FanArchive(self._group, name)
        try:
            yield self._archive
        except BaseException:
            with suppress(BorgOvirtError):
                self._group.tell("end")
            raise

    def losses(self) -> list[str]:
        """Who was given up since this was last asked."""
        lost = self._group.lost[self._told :]
        self._told = len(self._group.lost)
        return [f"repository {link.location} has no archive of this backup: {error}" for link, error in lost]

    def stored(self) -> list[Stored]:
        """What became of the last backup in each."""
        return self._archive.stored() if self._archive else []


class _FanArchive:
    """An archive in each repository."""

    def __init__(self, group: Group, name: str) -> None:
        self.name = name
        self._group = group
        self._new: dict[Link, int] = {}
        self._bases: dict[Link, str | None] = {}

    def add_file(self, path: str, data: bytes) -> None:
        """Add a small file."""
        self._group.tell("add_file", path, data)

    def disk(self, disk_id: str, size: int, cell: int) -> FanSink:
        """Start a disk."""
        self._group.use_cells(cell)
        self._group.tell("disk", disk_id, size, cell)
        return FanSink(self._group)

    def complete(self, sink: FanSink, stats: DownloadStats) -> None:
        """Every repository has the whole disk; the largest of their new bytes counts."""
        sink.flush()
        new = self._group.ask("complete")
        for link, count in new.items():
            self._new[link] = self._new.get(link, 0) + count
        stats.bytes_new = max(new.values())

    def commit(self, manifest: layout.Manifest) -> None:
        """Make it visible in each, with its own base."""
        self._bases = self._group.ask("commit", manifest.to_json())

    def stored(self) -> list[Stored]:
        """What became of it."""
        kept = [
            Stored(link.location, self.name, base, self._new.get(link)) for link, base in self._bases.items()
        ]
        return kept + [Stored(link.location, None, error=str(error)) for link, error in self._group.lost]
