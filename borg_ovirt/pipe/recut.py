"""A stream of bytes in pieces of one size, whatever the pieces it came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def recut(pieces: Iterable[memoryview], size: int) -> Iterator[memoryview]:
    """Pieces of `size` bytes, the last one maybe shorter. What was yielded is never changed again."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= size:
            yield memoryview(bytes(held[:size]))
            del held[:size]
    if held:
        yield memoryview(bytes(held))
