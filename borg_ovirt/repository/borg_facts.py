"""What Borg tells of an archive without a look at its items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ArchiveEntry:
    """An archive as Borg's manifest lists it."""

    name: str
    id: bytes
    time: datetime


@dataclass(frozen=True)
class ArchiveFacts:
    """An archive as its own metadata tell it."""

    entry: ArchiveEntry
    comment: str
    command: tuple[str, ...]
    items: tuple[bytes, ...]
    """Ids of the chunks of its item stream."""
    ended: datetime
    original_size: int
    compressed_size: int
