"""The digest of each block of a disk, collected while the disk passes by, in any order.

It is the imageio daemon's checksum, made locally: the hash of the hashes of all blocks. Blocks start out as
zeros, so that only data has to be shown. Whole blocks may be put by several threads at once.
"""

from __future__ import annotations

import hashlib

from borg_ovirt.blocks import KiB, MiB
from borg_ovirt.pipe.ports import Content

ALGORITHM = "blake2b"
BLOCK = 4 * MiB
_DIGEST = 32


def block_size_for(content: Content) -> int:
    """The content's own grid where the daemon allows it: a chunk is a block then, hashed on any thread."""
    size = content.chunks[0].size if content.chunks else BLOCK
    return size if MiB <= size <= 16 * MiB and size % (4 * KiB) == 0 else BLOCK


class BlockDigests:
    """Digests of the blocks of `size` bytes; the last block may be shorter."""

    def __init__(self, size: int, block: int = BLOCK) -> None:
        self.size = size
        self.block = block
        self.count = -(-size // block)
        self._digests = bytearray(block_digest(bytes(block)) * self.count)
        if size % block:
            self._set(self.count - 1, block_digest(bytes(size % block)))
        self._open: _OpenBlock | None = None

    @classmethod
    def of_nothing_yet(cls, content: Content) -> BlockDigests:
        """For a content about to be uploaded."""
        return cls(content.size, block_size_for(content))

    def block_length(self, index: int) -> int:
        return min(self.block, self.size - index * self.block)

    def whole(self, offset: int, length: int) -> bool:
        """Whether these bytes are exactly one block."""
        return offset % self.block == 0 and length == self.block_length(offset // self.block)

    def put(self, offset: int, view: memoryview) -> None:
        """One whole block; any thread, any order."""
        self._set(offset // self.block, block_digest(view))

    def feed(self, offset: int, view: memoryview) -> None:
        """Bytes anywhere; one thread, ascending. Blocks in part are complete only after `finish`."""
        while view:
            index = offset // self.block
            if self._open is None or self._open.index != index:
                self.finish()
                self._open = _OpenBlock(index, index * self.block)
            taken = min(len(view), (index + 1) * self.block - offset)
            self._open.add(offset, view[:taken])
            offset += taken
            view = view[taken:]

    def finish(self) -> None:
        """Close the block that `feed` began."""
        if self._open is not None:
            index = self._open.index
            self._open.add(index * self.block + self.block_length(index), memoryview(b""))
            self._set(index, self._open.hash.digest())
            self._open = None

    def digest(self, index: int) -> bytes:
        return bytes(self._digests[index * _DIGEST : (index + 1) * _DIGEST])

    def checksum(self) -> str:
        """The hash of the hashes, in hex, as the daemon gives it."""
        self.finish()
        return block_digest(self._digests).hex()

    def _set(self, index: int, digest: bytes) -> None:
        self._digests[index * _DIGEST : (index + 1) * _DIGEST] = digest


class _OpenBlock:
    """A block of which a part is hashed; what is skipped counts as zeros."""

    def __init__(self, index: int, position: int) -> None:
        self.index = index
        self.hash = hashlib.blake2b(digest_size=_DIGEST)
        self._position = position

    def add(self, offset: int, view: memoryview) -> None:
        if offset < self._position:
            raise ValueError(f"byte {offset} was already hashed")
        if offset > self._position:
            self.hash.update(bytes(offset - self._position))
        self.hash.update(view)
        self._position = offset + len(view)


def block_digest(data: bytes | bytearray | memoryview) -> bytes:
    """One block's; releases the interpreter while it works."""
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
