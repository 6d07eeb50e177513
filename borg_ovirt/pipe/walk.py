"""Walks an archived disk chunk by chunk: offset, size and bytes of each, zeros without bytes."""

from __future__ import annotations

from collections.abc import Container, Iterator

from borg_ovirt.errors import RestoreFailed
from borg_ovirt.pipe.ports import Content


def walk(
    content: Content, name: str = "the disk", only: Container[int] | None = None
) -> Iterator[tuple[int, int, memoryview | None]]:
    """Offset, size and bytes (None for zeros) of each chunk in order; the sizes must add up.

    `only`: the places of the chunks that are wanted.
    """
    fetched = content.fetch(
        chunk
        for place, chunk in enumerate(content.chunks)
        if (only is None or place in only) and not content.is_zero(chunk)
    )
    offset = 0
    for place, chunk in enumerate(content.chunks):
        if offset + chunk.size > content.size:
            raise _unsound(name, f"more than its {content.size} bytes")
        if only is None or place in only:
            view = None
            if not content.is_zero(chunk):
                view = next(fetched, None)
                if view is None or len(view) != chunk.size:
                    got = 0 if view is None else len(view)
                    raise _unsound(name, f"a chunk of {got} bytes at byte {offset} instead of {chunk.size}")
            yield offset, chunk.size, view
        offset += chunk.size
    if offset != content.size:
        raise _unsound(name, f"only {offset} of its {content.size} bytes")


def _unsound(name: str, what: str) -> RestoreFailed:
    return RestoreFailed(f"The archive gave {what} of {name}.", "Run 'borg check' on the repository.")
