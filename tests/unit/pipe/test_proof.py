"""A proof passes on the archived bytes and on nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from borg_ovirt.blocks import KiB, MiB
from borg_ovirt.errors import ProofFailed
from borg_ovirt.pipe.digests import BlockDigests, block_size_for
from borg_ovirt.pipe.proof import Proof, prove

from .fakes import Content, Target
from .strategies import archived


def digests_of(data: bytes, block: int) -> BlockDigests:
    digests = BlockDigests(len(data), block)
    digests.feed(0, memoryview(data))
    digests.finish()
    return digests


@given(archived(), st.integers(1, 50), st.integers(0, 40), st.booleans())
def test_the_archived_bytes_are_proven(disk: tuple[bytes, int], block: int, tail: int, offers: bool) -> None:
    data, _ = disk
    digests = digests_of(data, block)
    target = Target(data + bytes(tail))
    target.offers_checksum = offers
    how = prove(digests, target)
    if tail == 0 and offers:
        assert how is Proof.CHECKSUM
        assert target.read_back == 0
    else:
        assert how is Proof.READ_BACK
        assert target.read_back == target.size


@given(
    archived().filter(lambda disk: len(disk[0]) > 0),
    st.integers(1, 50),
    st.integers(0, 40),
    st.booleans(),
    st.data(),
)
def test_any_other_byte_is_found(
    disk: tuple[bytes, int], block: int, tail: int, offers: bool, draw: st.DataObject
) -> None:
    data, _ = disk
    target = Target(data + bytes(tail))
    target.offers_checksum = offers
    at = draw.draw(st.integers(0, target.size - 1))
    target.data[at] = draw.draw(st.sampled_from([0, 9]))
    assume(target.data[at] != (data + bytes(tail))[at])
    with pytest.raises(ProofFailed) as caught:
        prove(digests_of(data, block), target)
    first = at // block * block
    if first < len(data) <= at:
        first = len(data)
    assert f"at byte {first}." in caught.value.message
    assert ("not zero after its archived end" in caught.value.message) == (at >= len(data))


def test_a_checksum_that_disagrees_with_what_is_read_is_no_proof() -> None:
    class Lying(Target):
        def checksum(self, algorithm: str, block_size: int) -> str | None:
            return "00" * 32

    with pytest.raises(ProofFailed, match="checksum of the restored root is wrong"):
        prove(digests_of(b"x" * 16, 4), Lying(b"x" * 16), name="root")


def test_a_shorter_target_is_no_proof() -> None:
    with pytest.raises(ProofFailed, match="15 bytes, the archive 16"):
        prove(digests_of(b"x" * 16, 4), Target(b"x" * 15))


@given(archived(), st.integers(1, 50))
def test_pieces_in_any_shape_give_the_same_digests(disk: tuple[bytes, int], block: int) -> None:
    data, cell = disk
    whole = digests_of(data, block)
    pieces = BlockDigests(len(data), block)
    put = BlockDigests(len(data), block)
    for at in range(0, len(data), cell):
        if any(data[at : at + cell]):
            pieces.feed(at, memoryview(data)[at : at + cell])
    for at in reversed(range(0, len(data), block)):
        view = memoryview(data)[at : at + block]
        assert put.whole(at, len(view))
        put.put(at, view)
    assert whole.checksum() == pieces.checksum() == put.checksum()
    assert not put.whole(0, block + 1)
    assert not put.whole(block + 1, block) or block == 1


def test_feeding_backwards_is_refused() -> None:
    digests = BlockDigests(16, 8)
    digests.feed(4, memoryview(b"xx"))
    with pytest.raises(ValueError, match="already hashed"):
        digests.feed(2, memoryview(b"x"))


@pytest.mark.parametrize(
    ("cell", "block"), [(MiB, MiB), (4 * MiB, 4 * MiB), (64 * KiB, 4 * MiB), (MiB + 512, 4 * MiB)]
)
def test_blocks_follow_the_grid_where_the_daemon_can(cell: int, block: int) -> None:
    assert block_size_for(Content(b"x" * (cell + 1), cell)) == block


@pytest.mark.parametrize("size", [0, 1, 4 * MiB, 9 * MiB + 4096])
def test_the_checksum_is_the_daemons(size: int, tmp_path: Path) -> None:
    """Against the real code of ovirt-imageio, in a process of its own."""
    data = (bytes(2 * MiB) + b"data" * (MiB // 2) + bytes(MiB) + b"end!" * MiB)[:size]
    path = tmp_path / "disk.raw"
    path.write_bytes(data)
    program = (
        "import sys; from ovirt_imageio._internal import blkhash; "
        "print(blkhash.checksum(sys.argv[1], block_size=int(sys.argv[2]))['checksum'])"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", program, str(path), str(MiB)], capture_output=True, text=True, check=True
    )
    assert digests_of(data, MiB).checksum() == theirs.stdout.strip()
