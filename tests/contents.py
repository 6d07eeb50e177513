"""What every content has to do, whatever lies behind it: run against each implementation of `Content`."""

from __future__ import annotations

import random

from borg_ovirt.pipe.ports import Content
from borg_ovirt.pipe.walk import walk


def bytes_of(content: Content) -> bytes:
    """A content as a restore reads it."""
    return b"".join(bytes(size) if view is None else bytes(view) for _, size, view in walk(content))


def check_content(content: Content, data: bytes) -> None:
    """The content holds exactly these bytes, and obeys the port."""
    chunks = list(content.chunks)
    assert content.size == len(data)
    assert len(content.chunks) == len(chunks)
    assert all(chunk.size > 0 for chunk in chunks)
    assert sum(chunk.size for chunk in chunks) == len(data)
    assert bytes_of(content) == data
    starts = [sum(chunk.size for chunk in chunks[:n]) for n in range(len(chunks))]
    pieces = [data[start : start + chunk.size] for start, chunk in zip(starts, chunks, strict=True)]
    for chunk, piece in zip(chunks, pieces, strict=True):
        assert not content.is_zero(chunk) or not piece.strip(b"\0"), "data that passes for zeros is lost"
    # In any order, some twice, zeros too; views stay good while others are fetched.
    order = [*range(len(chunks)), *range(len(chunks))]
    random.Random(len(data)).shuffle(order)
    views = list(content.fetch(chunks[n] for n in order))
    assert [bytes(view) for view in views] == [pieces[n] for n in order]
    assert list(content.fetch([])) == []
    for index in range(-len(chunks), len(chunks)):
        assert content.chunks[index] == chunks[index]
    assert list(content.chunks[1:3]) == chunks[1:3]


def disk_in_cells(cell: int, seed: int = 1) -> bytes:
    """Data, zeros, equal cells, and a short end."""
    rng = random.Random(seed)
    data, twin = rng.randbytes(cell), rng.randbytes(cell)
    return (
        data + twin + bytes(2 * cell) + twin + bytes(cell - 3) + rng.randbytes(3) + rng.randbytes(cell // 3)
    )
