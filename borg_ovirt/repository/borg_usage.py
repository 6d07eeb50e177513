"""What each VM needs of a repository for itself, and what it shares with others, by the chunks of each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from borg.hashindex import ChunkIndex

from borg_ovirt.errors import RepositoryDamaged
from borg_ovirt.repository.borg_items import stored_files
from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.catalogue import ArchiveInfo

_log = logging.getLogger(__name__)
_SHARED = ChunkIndex.MAX_VALUE


@dataclass(frozen=True)
class VmUsage:
    """Bytes as they are stored, compressed, each chunk counted once."""

    unique: int
    """Of chunks that no other VM and no foreign archive refers to: what goes when all its archives go."""
    shared: int


@dataclass(frozen=True)
class Usage:
    """What a repository holds, without the archives' own metadata."""

    vms: Mapping[str, VmUsage]
    """By VM id."""
    stored: int
    """Bytes of all chunks."""
    original: int
    """Bytes of all files of all archives, as `borg extract` would write them."""


def usage(session: Session, archives: Iterable[ArchiveInfo]) -> Usage:
    """Count it; an archive whose list of chunks cannot be read is told of, and not counted."""
    owners = {info.name: info.comment.vm_id for info in archives}
    groups: dict[str, list[str]] = {}
    for entry in session.entries():
        groups.setdefault(owners.get(entry.name, ""), []).append(entry.name)
    every = ChunkIndex()
    totals: dict[str, int] = {}
    original = 0
    for number, (owner, names) in enumerate(groups.items(), 1):
        mine = ChunkIndex()
        for name in names:
            original += _count(session, name, mine)
        totals[owner] = 0
        for id_, entry in mine.iteritems():
            totals[owner] += entry.csize
            every[id_] = (_SHARED if id_ in every else number, entry.size, entry.csize)
    unique = dict.fromkeys(range(1, len(groups) + 1), 0)
    stored = 0
    for _, entry in every.iteritems():
        stored += entry.csize
        if entry.refcount != _SHARED:
            unique[entry.refcount] += entry.csize
    vms = {
        owner: VmUsage(unique[number], totals[owner] - unique[number])
        for number, owner in enumerate(groups, 1)
        if owner
    }
    return Usage(vms, stored, original)


def _count(session: Session, name: str, mine: ChunkIndex) -> int:
    """Add the chunks of an archive; returns the size of its files."""

    def row(id_: bytes, size: int, csize: int) -> None:
        if id_ not in mine:
            mine[id_] = (1, size, csize)

    try:
        (facts,) = session.facts([session.entry(name)])
        return sum(stored.size for stored in stored_files(session, facts.items, row=row))
    except RepositoryDamaged as error:
        _log.warning("Archive %s is not counted: %s", name, error.message)
        return 0
