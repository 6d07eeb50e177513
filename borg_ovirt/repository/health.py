"""Whether an archive can be restored whole, as far as can be told without reading its data.

What it refers to must be there, and must not be what `borg check --repair` put in place of lost chunks.
"""

from __future__ import annotations

from collections.abc import Callable

from borg_ovirt.errors import ArchiveNotFound, NotOurArchive, RepositoryDamaged
from borg_ovirt.repository.reader import ArchiveReader


def damage(read: Callable[[], ArchiveReader]) -> str | None:
    """What is wrong with the archive that `read` gives; None if nothing is.

    Costs the list of its chunks, and a look into the index for each. A chunk whose bytes rotted is found by
    `borg check --verify-data` alone. Raises `RepositoryError` where the repository does not answer: that
    says nothing about the archive.
    """
    try:
        reader = read()
        paths = reader.manifest.contents
        lost = [path for path in paths if reader.disk(path).damaged]
        if not lost:
            reader.ovf  # noqa: B018  (reading it proves it)
    except (ArchiveNotFound, NotOurArchive, RepositoryDamaged) as error:
        return error.message.rstrip(".")
    if not lost:
        return None
    return f"the repository lost chunks of {', '.join(lost)}"
