"""Contents that stand between an archive and an upload: patched, shared between threads, out of a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from contents import bytes_of, check_content, disk_in_cells
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import Chunk
from borg_ovirt.pipe.file_source import FileContent
from borg_ovirt.pipe.patched import PatchedContent
from borg_ovirt.pipe.ports import Content
from borg_ovirt.pipe.shared import SharedContent
from borg_ovirt.pipe.trimmed import TrimmedContent
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
        for chunk in chunks:
            yield memoryview(self._bytes[chunk.id])


class OneAtATime(Archived):
    """As a repository is: a fetch that begins before the last one has ended would mix up their answers."""

    def __init__(self, data: bytes, cell: int, lock: threading.Lock) -> None:
        super().__init__(data, cell)
        self._turn = lock

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        self.busy += 1
        for view in super().fetch(chunks):
            assert self.busy == 1, "the repository serves one at a time"
            assert self._turn.locked(), "somebody else could begin now"
            yield view
        self.busy -= 1


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


CELL = 12


def in_a_file(data: bytes, place: Path) -> Content:
    """With holes where the zeros are, as `qemu-img convert` leaves them."""
    path = place / "disk"
    with path.open("wb") as file:
        file.truncate(len(data))
        for start in range(0, len(data), PAGE):
            if data[start : start + PAGE].strip(b"\0"):
                file.seek(start)
                file.write(data[start : start + PAGE])
    return FileContent(path, PAGE)


PAGE = 64 << 10
MAKERS: dict[str, Callable[[Path], tuple[Content, bytes]]] = {}


def content(make: Callable[[Path], tuple[Content, bytes]]) -> None:
    MAKERS[make.__name__] = make


@content
def archived(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    return Archived(data, CELL), data


@content
def patched(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    new = bytes(range(1, 2 * CELL))  # over the end of one chunk, a whole one of zeros, and into the next
    at = 2 * CELL - 5
    return PatchedContent(Archived(data, CELL), Patch(at, new)), data[:at] + new + data[at + len(new) :]


@content
def trimmed(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    return TrimmedContent(Archived(data, CELL), 5 * CELL - 1), data[: 5 * CELL - 1]


@content
def trimmed_in_zeros(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    return TrimmedContent(Archived(data, CELL), 3 * CELL + 4), data[: 3 * CELL + 4]


@content
def trimmed_at_a_chunk(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    return TrimmedContent(Archived(data, CELL), 2 * CELL), data[: 2 * CELL]


@content
def trimmed_inside_of_the_patch(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    inner = PatchedContent(Archived(data, CELL), Patch(CELL - 2, b"parent"))
    whole = data[: CELL - 2] + b"parent" + data[CELL + 4 :]
    return TrimmedContent(inner, CELL + 2), whole[: CELL + 2]


@content
def patched_where_it_was_trimmed(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    inner = TrimmedContent(Archived(data, CELL), CELL + 6)
    return PatchedContent(inner, Patch(CELL + 2, b"name")), data[: CELL + 2] + b"name"


@content
def shared(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL) * 3  # more than one turn at the repository
    return SharedContent(Archived(data, CELL), threading.Lock()), data


@content
def all_together(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(CELL)
    inner = SharedContent(Archived(data, CELL), threading.Lock())
    whole = data[:3] + b"xyz" + data[6:]
    return TrimmedContent(PatchedContent(inner, Patch(3, b"xyz")), 4 * CELL + 1), whole[: 4 * CELL + 1]


@content
def a_file(place: Path) -> tuple[Content, bytes]:
    data = disk_in_cells(PAGE)
    return in_a_file(data, place), data


@content
def a_file_that_is_a_hole(place: Path) -> tuple[Content, bytes]:
    return in_a_file(bytes(2 * PAGE + 1), place), bytes(2 * PAGE + 1)


@content
def an_empty_file(place: Path) -> tuple[Content, bytes]:
    return in_a_file(b"", place), b""


@pytest.mark.parametrize("kind", MAKERS)
def test_every_content_obeys_the_port(kind: str, tmp_path: Path) -> None:
    check_content(*MAKERS[kind](tmp_path))


def test_the_holes_of_a_file_are_known(tmp_path: Path) -> None:
    found = in_a_file(disk_in_cells(PAGE), tmp_path)
    assert [found.is_zero(chunk) for chunk in found.chunks] == [False, False, True, True, False, False, False]


def test_no_id_is_given_to_what_no_repository_holds(tmp_path: Path) -> None:
    """A part of a chunk, a patched chunk and a cell of a file are no chunks of any archive."""
    for kind in ("patched", "trimmed", "a_file"):
        made, _ = MAKERS[kind](tmp_path / kind if kind != "a_file" else tmp_path)
        assert any(not isinstance(chunk, Chunk) for chunk in made.chunks), kind


def test_nothing_is_kept_beyond_the_end() -> None:
    with pytest.raises(ValueError, match="13 bytes are not the beginning of 12"):
        TrimmedContent(Archived(bytes(12), 4), 13)


def test_threads_take_turns_at_a_shared_archive() -> None:
    lock = threading.Lock()
    data = bytes(range(1, 250))
    archived = OneAtATime(data, 3, lock)
    got: dict[int, bytes] = {}

    def read(number: int) -> None:
        got[number] = bytes_of(SharedContent(archived, lock))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == dict.fromkeys(range(4), data)
