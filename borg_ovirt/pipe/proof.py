"""Proves that a target holds the archived bytes before anybody relies on it.

The digests were collected while the disk was uploaded, so the archive is not read again. The daemon's own
checksum tells whether they hold where the whole export is the disk; else everything is read back.
"""

from __future__ import annotations

from enum import Enum

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import ProofFailed
from borg_ovirt.pipe.digests import ALGORITHM, BlockDigests, block_digest
from borg_ovirt.pipe.fetch import Arrival, Fetcher
from borg_ovirt.pipe.plan import make_plan
from borg_ovirt.pipe.ports import Target

_HINT = "Do not use the restored disk. Restore again; see the imageio daemon's log and the target's storage."


class Proof(str, Enum):
    """How a proof was made."""

    CHECKSUM = "the daemon's checksum"
    READ_BACK = "read back"


def prove(
    digests: BlockDigests, target: Target, *, use_checksum: bool = True, name: str = "the disk"
) -> Proof:
    """Raise `ProofFailed`, with the first differing offset where it is known, unless the target is right.

    The target must read as the digested bytes and as zeros after them. `use_checksum=False` where the
    daemon exports more than the disk (a raw volume on block storage): its checksum would cover that too.
    """
    if target.size < digests.size:
        raise ProofFailed(f"The target of {name} has {target.size} bytes, the archive {digests.size}.", _HINT)
    theirs = None
    if use_checksum and target.size == digests.size:
        theirs = target.checksum(ALGORITHM, digests.block)
        if theirs == digests.checksum():
            return Proof.CHECKSUM
    _read_back(digests, target, name)
    if theirs is not None:
        raise ProofFailed(
            f"The checksum of the restored {name} is wrong, though it reads back as archived.", _HINT
        )
    return Proof.READ_BACK


def _read_back(digests: BlockDigests, target: Target, name: str) -> None:
    """Compare block after block, so that the first difference is the one told."""
    digests.finish()
    expected = _Expected(digests, name)
    plan = make_plan(target.size, digests.block, [Extent(0, target.size, zero=False)], name=name)
    with Fetcher(plan, target.open_reader, block_digest) as fetcher:
        for _, first, end in plan.runs():
            for index in range(first, end):
                arrival = fetcher.take(index)
                expected.compare(arrival)
                fetcher.done(arrival)


class _Expected:
    """What each block of the target must be."""

    def __init__(self, digests: BlockDigests, name: str) -> None:
        self._digests = digests
        self._name = name
        self._zeros = BlockDigests(digests.size, digests.block)

    def zeros(self, index: int) -> None:
        """The block reads as zeros."""
        if index < self._digests.count and self._digests.digest(index) != self._zeros.digest(index):
            raise self._differs(index)

    def compare(self, arrival: Arrival[bytes]) -> None:
        """The block was read back."""
        index, digests = arrival.cell, self._digests
        if arrival.prepared is None:
            self.zeros(index)
        elif index >= digests.count:
            raise self._differs(index)
        elif arrival.size == digests.block_length(index):
            if arrival.prepared != digests.digest(index):
                raise self._differs(index)
        else:  # the archived disk ends inside of this block
            length = digests.block_length(index)
            if block_digest(arrival.buffer[:length]) != digests.digest(index):
                raise self._differs(index)
            if arrival.buffer[length : arrival.size].tobytes().strip(b"\0"):
                raise self._differs(index, length)

    def _differs(self, index: int, within: int = 0) -> ProofFailed:
        offset = index * self._digests.block + within
        if offset >= self._digests.size:
            what = f"is not zero after its archived end: see the block at byte {offset}"
        else:
            what = f"differs from the archive, first in the block of {self._digests.block} at byte {offset}"
        return ProofFailed(f"The restored {self._name} {what}.", _HINT)
