"""Contents that stand between an archive and an upload: patched, shared between threads, out of a file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import Chunk
from borg_ovirt.pipe.file_source import FileContent
from borg_ovirt.pipe.patched import PatchedContent
from borg_ovirt.pipe.ports import Content
from borg_ovirt.pipe.shared import SharedContent
from borg_ovirt.pipe.walk import walk
from borg_ovirt.qcow2 import Patch


class Archived:
    """Bytes in chunks, equal chunks with equal ids, as an archive holds them."""

    def __init__(self, data: bytes, cell: int) -> None:
        self.size = len(data)
        self._bytes: dict[bytes, bytes] = {}
        self.chunks: Sequence[Chunk] = []
        self.busy = 0
        for start in range(0, len(data), cell):
            piece = data[start : start + cell]
            id_ = piece.ljust(cell, b"\xff") + bytes([len(piece)])
            self._bytes[id_] = piece
            self.chunks = [*self.chunks, Chunk(id_, len(piece))]

    def is_zero(self, chunk: Chunk) -> bool:
        return not self._bytes[chunk.id].strip(b"\0")

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        self.busy += 1
        assert self.busy == 1, "the repository serves one at a time"
        for chunk in chunks:
            yield memoryview(self._bytes[chunk.id])
        self.busy -= 1


def bytes_of(content: Content) -> bytes:
    return b"".join(bytes(size) if view is None else bytes(view) for _, size, view in walk(content))


@given(
    data=st.binary(min_size=1, max_size=60),
    cell=st.integers(1, 9),
    offset=st.integers(0, 59),
    length=st.integers(1, 60),
)
def test_a_patch_lies_where_it_should_and_nowhere_else(
    data: bytes, cell: int, offset: int, length: int
) -> None:
    data = data.replace(b"\1", b"\0")
    offset %= len(data)
    new = bytes(range(100, 100 + min(length, len(data) - offset)))
    patched = PatchedContent(Archived(data, cell), Patch(offset, new))
    assert bytes_of(patched) == data[:offset] + new + data[offset + len(new) :]
    assert [c.size for c in patched.chunks] == [c.size for c in Archived(data, cell).chunks]
    assert len(patched.chunks) == -(-len(data) // cell)
    assert patched.chunks[-1] == patched.chunks[len(patched.chunks) - 1]


def test_only_the_chunk_at_the_patch_is_another_though_its_twin_is_equal() -> None:
    content = Archived(b"abcdabcdabcd", 4)
    assert content.chunks[0] == content.chunks[2]
    assert bytes_of(PatchedContent(content, Patch(5, b"X"))) == b"abcdaXcdabcd"


def test_zeros_under_a_patch_are_zeros_no_more() -> None:
    patched = PatchedContent(Archived(bytes(12), 4), Patch(4, b"new!"))
    assert [patched.is_zero(chunk) for chunk in patched.chunks] == [True, False, True]


@pytest.mark.parametrize("offset", [-1, 9])
def test_a_patch_must_lie_inside(offset: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        PatchedContent(Archived(bytes(12), 4), Patch(offset, b"new!"))


def test_threads_take_turns_at_a_shared_archive() -> None:
    lock = threading.Lock()
    data = bytes(range(1, 250))
    archived = Archived(data, 3)
    got: dict[int, bytes] = {}

    def read(number: int) -> None:
        got[number] = bytes_of(SharedContent(archived, lock))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == dict.fromkeys(range(4), data)


def test_a_sparse_file_is_read_back_and_its_holes_are_known(tmp_path: Path) -> None:
    cell = 64 << 10
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(9 * cell + 100)
        for offset, data in ((2 * cell + 5, b"middle"), (9 * cell + 50, b"end")):
            file.seek(offset)
            file.write(data)
    with FileContent(path, cell) as content:
        assert content.size == path.stat().st_size
        zeros = [content.is_zero(chunk) for chunk in content.chunks]
        assert zeros == [index not in (2, 9) for index in range(10)]
        assert bytes_of(content) == path.read_bytes()
        whole = b"".join(map(bytes, content.fetch(content.chunks)))
        assert whole == path.read_bytes()


def test_an_empty_file_and_one_that_is_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    with FileContent(path) as content:
        assert content.chunks == []
    os.truncate(path, 10 << 20)
    with FileContent(path) as content:
        assert all(map(content.is_zero, content.chunks))
        assert sum(chunk.size for chunk in content.chunks) == 10 << 20
