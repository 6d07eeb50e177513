"""Reads chunks out of a repository: decrypts and decompresses here, and hashes in a thread meanwhile.

Borg does all three in turn. The hashing, a third of the work, lets other threads run; the rest does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from borg.crypto.key import AUTHENTICATED_NO_KEY, AuthenticatedKeyBase

_AHEAD = 2
"""Chunks that are hashed while the next is read."""
_BATCH = 64
"""Ids that are asked for at once."""


class ChunkReader:
    """One thread at a time."""

    def __init__(self, repository: Any, key: Any) -> None:
        self._repository = repository
        self._key = key
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="hash")

    def read(self, ids: Iterable[bytes]) -> Iterator[bytes]:
        """The plain bytes of the chunks, in order, each checked against its id; raises what Borg does."""
        hashed: deque[tuple[bytes, Future[None]]] = deque()
        for id_, data in self._found(ids):
            plain = self._key.decompress(self._key.decrypt(id_, data, decompress=False))
            hashed.append((plain, self._hasher.submit(self._check, id_, plain)))
            if len(hashed) > _AHEAD:
                yield _proven(*hashed.popleft())
        while hashed:
            yield _proven(*hashed.popleft())

    def _found(self, ids: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        for batch in _batches(ids):
            yield from zip(batch, self._repository.get_many(batch), strict=True)

    def _check(self, id_: bytes, plain: bytes) -> None:
        if AUTHENTICATED_NO_KEY and isinstance(self._key, AuthenticatedKeyBase):
            return  # somebody lost the key and told Borg so
        self._key.assert_id(id_, plain)


def _proven(plain: bytes, check: Future[None]) -> bytes:
    check.result()
    return plain


def _batches(ids: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Borg's remote client moves its whole list of requests for each answer: keep that list short."""
    batch: list[bytes] = []
    for id_ in ids:
        batch.append(id_)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
