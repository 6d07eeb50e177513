"""Random disks for hypothesis, at a scale where each byte can be reasoned about one by one."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from borg_ovirt.blocks import Extent

from .fakes import Base


@dataclass
class Change:
    """A disk now, as it was, and extents that tell the truth about it (though not all of it)."""

    data: bytes
    old: bytes
    cell: int
    extents: list[Extent]


def cut(flags: list[tuple[bool, bool]]) -> list[Extent]:
    """The extents of a disk given (zero, dirty) of each byte."""
    extents: list[Extent] = []
    for position, (zero, dirty) in enumerate(flags):
        last = extents[-1] if extents else None
        if last is not None and (last.zero, last.dirty) == (zero, dirty):
            extents[-1] = last._replace(length=last.length + 1)
        else:
            extents.append(Extent(position, 1, zero, dirty))
    return extents


@st.composite
def flag_runs(draw: st.DrawFn, size: int) -> list[tuple[bool, bool]]:
    """Flags in runs short and long against the grid."""
    flags: list[tuple[bool, bool]] = []
    while len(flags) < size:
        run = draw(st.tuples(st.integers(1, 40), st.booleans(), st.booleans()))
        flags += [(run[1], run[2])] * run[0]
    return flags[:size]


@st.composite
def extent_lists(draw: st.DrawFn, size: int, longest: int = 40) -> list[Extent]:
    """Extents that cover a disk; neighbours may have the same flags."""
    extents: list[Extent] = []
    position = 0
    while position < size:
        length = min(draw(st.integers(1, longest)), size - position)
        extents.append(Extent(position, length, draw(st.booleans()), draw(st.booleans())))
        position += length
    return extents


@st.composite
def bases(draw: st.DrawFn, size: int, cell: int) -> Base:
    """A base archive for a disk of that size, perhaps smaller."""
    old = draw(st.integers(0, size) | st.just(size))
    pieces = draw(st.lists(st.sampled_from([b"\0" * cell, b"x" * cell]), min_size=old // cell + 1))
    data = (b"".join(pieces))[:old].ljust(old, b"\0")
    return Base(data, cell)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """A disk that changed (and grew, perhaps) since its base was made."""
    cell = draw(st.integers(1, 16))
    size = draw(st.integers(0, 150))
    flags = draw(flag_runs(size))
    old_size = draw(st.integers(0, size) | st.just(size))
    seed = draw(st.randoms(use_true_random=False))
    # Data extents may well hold zeros, as a disk on which zeros were written does.
    data = bytes(0 if zero else seed.choice((0, 1, 2)) for zero, _ in flags)
    if draw(st.booleans()):
        data = bytes(0 if index // cell % 3 == 0 else byte for index, byte in enumerate(data))
    old = bytes(
        seed.choice((0, 3)) if dirty else data[position]
        for position, (_, dirty) in enumerate(flags[:old_size])
    )
    return Change(data, old, cell, cut(flags))


@st.composite
def archived(draw: st.DrawFn, max_size: int = 150) -> tuple[bytes, int]:
    """The bytes of a disk, much of it zeros, and its grid."""
    cell = draw(st.integers(1, 16))
    runs = draw(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([b"\0", b"\1", b"\2"])), max_size=12))
    return b"".join(byte * count for count, byte in runs)[:max_size], cell
