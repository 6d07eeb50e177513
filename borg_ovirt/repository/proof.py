"""What was proven of an archive: kept in its comment, where every client of the repository sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated, Literal, get_args

from pydantic import Field

from borg_ovirt.repository.schema import Count, Flag, Record, When

Level = Literal["structure", "data", "content", "restore", "boot"]
"""What a proof looked at, each level all that the ones before it look at."""
LEVELS: tuple[Level, ...] = get_args(Level)
_LONGEST = 400
"""Characters of a note that are kept: the comment is read for every list."""


ChunkId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_MOST_ROTTEN = 2000


class ProofRecord(Record):
    """One proof, passed or failed."""

    level: Level
    passed: Flag
    time: When
    version: str
    """Of the tool that looked."""
    note: str = ""
    """What was found: the fault, or what the disks hold."""
    rotten: tuple[ChunkId, ...] = ()
    """Chunks that could not be read: before a backup refers to one of them it is read again."""


class UnderWay(Record):
    """A proof that ran out of time: the next one goes on there."""

    level: Level
    time: When
    """When it was begun."""
    done: Count
    """Chunks of the archive's disks that were read, in the order of the manifest."""


def rank(level: Level) -> int:
    """The place among the levels: a higher one looks at more."""
    return LEVELS.index(level)


def proof(
    level: Level, time: When, version: str, fault: str | None, note: str = "", rotten: Iterable[bytes] = ()
) -> ProofRecord:
    """The record of a proof; with a fault it failed."""
    text = " ".join((fault or note).split())[:_LONGEST]
    ids = tuple(id_.hex() for id_ in islice(rotten, _MOST_ROTTEN))
    return ProofRecord(level=level, passed=fault is None, time=time, version=version, note=text, rotten=ids)


def with_proof(proofs: Sequence[ProofRecord], new: ProofRecord) -> tuple[ProofRecord, ...]:
    """The proofs with one more: a passed one stands for all below it, a failed one beside what passed."""
    kept = [
        old
        for old in proofs
        if rank(old.level) > rank(new.level) or (not new.passed and old.level != new.level)
    ]
    return tuple(sorted([*kept, new], key=lambda p: rank(p.level)))


def last_proof(proofs: Sequence[ProofRecord], least: Level = "structure") -> ProofRecord | None:
    """The newest that passed, at that level or above."""
    passed = [p for p in proofs if p.passed and rank(p.level) >= rank(least)]
    return max(passed, key=lambda p: (p.time, rank(p.level)), default=None)


def failed_proof(proofs: Sequence[ProofRecord]) -> ProofRecord | None:
    """The one that failed and that no later proof of its level outdid."""
    return max((p for p in proofs if not p.passed), key=lambda p: p.time, default=None)


def in_words(failed: ProofRecord) -> str:
    """Why an archive that failed its proof cannot be relied on."""
    return f"it failed its proof of {failed.time:%Y-%m-%d} (level {failed.level}): {failed.note}"
