"""Which archives of a repository are ours: told by their comments, without reading any item."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from borg_ovirt.errors import NotOurArchive, RepositoryDamaged
from borg_ovirt.repository.borg_facts import ArchiveEntry, ArchiveFacts
from borg_ovirt.repository.borg_ids import archive_id
from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.layout import TOOL, ArchiveComment, is_checkpoint_name, parse_comment
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.repository.series import later_than_now

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArchiveInfo:
    """One archive of ours. Times are in UTC, sizes in bytes."""

    name: str
    id: str
    time: datetime
    """The instant that the archive shows, by the engine's clock."""
    comment: ArchiveComment
    duration: timedelta
    """From that instant to the commit, which is by this machine's clock."""
    original_size: int
    compressed_size: int


class Catalogue:
    """The archives of one repository, remembered while it is open."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[bytes, ArchiveInfo | None] = {}
        self._told = False
        self.unreadable: set[str] = set()
        """Names of archives, whoever made them, whose metadata are damaged: told once, and left alone."""
        self._listed: list[ArchiveEntry] | None = None
        """What `_archives` was made of: it is made anew when that changes."""
        self._archives: list[ArchiveInfo] = []

    def archives(self) -> list[ArchiveInfo]:
        """Every archive of ours, oldest first; foreign and unfinished ones are not among them."""
        listed = self._session.entries()
        if listed is self._listed:
            return list(self._archives)
        entries = [entry for entry in listed if not is_checkpoint_name(entry.name)]
        unknown = [entry for entry in entries if entry.id not in self._known]
        for entry, facts in _readable(self._session, unknown):
            self._known[entry.id] = self._info(facts) if facts else None
            if facts is None:
                self.unreadable.add(entry.name)
        infos = [info for entry in entries if (info := self._known.get(entry.id))]
        self._tell_of_the_future(infos)
        self._archives = sorted(infos, key=lambda info: (info.time, info.name))
        self._listed = listed
        return list(self._archives)

    def _tell_of_the_future(self, infos: Sequence[ArchiveInfo]) -> None:
        """Once: whoever meets such an archive should know that a clock is or was wrong."""
        later = later_than_now(infos, datetime.now(timezone.utc)) if not self._told else []
        if later:
            self._told = True
            more = f" (and {len(later) - 1} others)" if len(later) > 1 else ""
            _log.warning(
                "Archive %s%s bears a time later than now, %s: a clock is or was wrong. That time counts for "
                "nothing.",
                later[0].name,
                more,
                f"{later[0].time:%Y-%m-%d %H:%M} UTC",
            )

    def _info(self, facts: ArchiveFacts) -> ArchiveInfo | None:
        try:
            comment = parse_comment(facts.comment, facts.entry.name)
            if comment is None and facts.command[:1] == (TOOL,):
                # Made by us, and somebody changed the comment since: the manifest tells the same.
                comment = ArchiveReader(self._session, facts).comment
        except (NotOurArchive, RepositoryDamaged) as error:
            _log.warning("%s It is left alone.", error.message)
            return None
        if comment is None:
            return None
        return ArchiveInfo(
            name=facts.entry.name,
            id=archive_id(facts.entry.id),
            time=facts.entry.time,
            comment=comment,
            duration=facts.ended - facts.entry.time,
            original_size=facts.original_size,
            compressed_size=facts.compressed_size,
        )


def _readable(
    session: Session, entries: Sequence[ArchiveEntry]
) -> Iterator[tuple[ArchiveEntry, ArchiveFacts | None]]:
    """The facts of all archives, None for one that cannot be read: it does not hide the others.

    A repository that does not answer hides them all, and is no reason to take older ones for the latest.
    """
    remaining = list(entries)
    while remaining:
        done = 0
        try:
            for facts in session.facts(remaining):
                done += 1
                yield facts.entry, facts
            return
        except RepositoryDamaged as error:
            _log.warning("Archive %s cannot be read: %s", remaining[done].name, error.message)
            yield remaining[done], None
        remaining = remaining[done + 1 :]
