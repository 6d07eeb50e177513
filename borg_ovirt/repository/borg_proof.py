"""Reads chunks to prove that they are what was stored, and goes on behind those that are not."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import RepositoryDamaged, RepositoryError
from borg_ovirt.repository.borg_session import Session

_BATCH = 64


def read_all(session: Session, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, str | None]]:
    """Read, decrypt, decompress and hash each chunk; with it comes what is wrong, or None.

    A repository that does not answer raises: that says nothing about its chunks.
    """
    waiting = iter(chunks)
    while batch := list(islice(waiting, _BATCH)):
        done = 0
        try:
            for chunk, data in zip(batch, session.fetch([chunk.id for chunk in batch]), strict=True):
                yield chunk, _wrong_size(chunk, data)
                done += 1
        except RepositoryError:
            yield from _one_by_one(session, batch[done:])


def still_rotten(session: Session, ids: Iterable[bytes]) -> set[bytes]:
    """Which of these chunks cannot be read now either."""
    found = (error for id_ in ids for error in _one_by_one(session, [Chunk(id_, -1)]))
    return {chunk.id for chunk, fault in found if fault is not None}


def _one_by_one(session: Session, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, str | None]]:
    for chunk in chunks:
        try:
            (data,) = session.fetch([chunk.id])
        except RepositoryError as error:
            if not _about_the_chunk(error):
                raise
            yield chunk, f"chunk {chunk.id.hex()[:16]} cannot be read: {error.message.rstrip('.')}"
        else:
            yield chunk, _wrong_size(chunk, data)


def _about_the_chunk(error: RepositoryError) -> bool:
    """Whether it tells of what lies in the repository: lost, rotten, or on a sector that cannot be read.

    Borg raises a bare `Exception` where bytes do not decompress.
    """
    cause = error.__cause__
    rotten_sector = isinstance(cause, OSError) and cause.errno == errno.EIO
    return isinstance(error, RepositoryDamaged) or rotten_sector or type(cause) is Exception


def _wrong_size(chunk: Chunk, data: bytes) -> str | None:
    if chunk.size in (-1, len(data)):
        return None
    return f"chunk {chunk.id.hex()[:16]} has {len(data)} bytes, not {chunk.size}"
