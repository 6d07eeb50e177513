"""Images made from a seed: the same bytes for the same name, size and seed, holes where no data is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
_BLOCK = 64 << 10
_RUN = 64 * MIB

KINDS = ("file-system-like", "incompressible", "sparse", "mostly duplicate")


def make_image(path: Path, kind: str, size: int, data: int, seed: int) -> int:
    """A raw image of `size` bytes that holds `data` bytes of that kind; returns the bytes it really holds."""
    written = 0
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, piece in pieces(kind, size, data, seed):
            file.seek(offset)
            file.write(piece)
            written += len(piece)
    return written


def pieces(kind: str, size: int, data: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """The data of an image: where and what, in order."""
    source = random.Random(f"{kind} {seed}")
    make = {
        "file-system-like": _file_system(source),
        "incompressible": (source.randbytes(MIB) for _ in iter(int, 1)),
        "sparse": _file_system(source),
        "mostly duplicate": _duplicates(source),
    }[kind]
    # Sparse: many small islands. Otherwise runs of data spread evenly over the disk, on cluster boundaries.
    run = 256 << 10 if kind == "sparse" else min(_RUN, data)
    count = max(1, data // run)
    for number in range(count):
        start = number * size // count // MIB * MIB
        for offset in range(start, start + run, MIB):
            yield offset, next(make)[: min(MIB, start + run - offset)]


def _file_system(source: random.Random) -> Iterator[bytes]:
    """Half of it shrinks to about a third, as text and programs do, half of it not at all."""
    words = [source.randbytes(source.randrange(3, 12)) for _ in range(3000)]
    texts = [_text(source, words) for _ in range(64)]
    while True:
        blocks = []
        for _ in range(MIB // _BLOCK):
            if source.random() < 0.5:
                text = source.choice(texts)
                cut = source.randrange(len(text))
                blocks.append((source.randbytes(4096) + text[cut:] + text[:cut])[:_BLOCK])
            else:
                blocks.append(source.randbytes(_BLOCK))
        yield b"".join(blocks)


def _text(source: random.Random, words: list[bytes]) -> bytes:
    text = bytearray()
    while len(text) < _BLOCK:
        text += source.choice(words[: source.randrange(1, len(words))])
    return bytes(text[:_BLOCK])


def _duplicates(source: random.Random) -> Iterator[bytes]:
    """Nine cells of 4 MiB in ten are one of eight."""
    known = [[source.randbytes(MIB) for _ in range(4)] for _ in range(8)]
    while True:
        yield from (
            source.choice(known) if source.random() < 0.9 else [source.randbytes(MIB) for _ in range(4)]
        )


def changes(size: int, amount: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Writes of 4 MiB of new bytes, spread over the disk on the grid: what changed since the last time."""
    source = random.Random(f"changes {seed}")
    step = 4 * MIB
    for place in sorted(source.sample(range(size // step), amount // step)):
        for part in range(4):
            yield place * step + part * MIB, source.randbytes(MIB)


def changes_of_data(size: int, data: int, amount: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """The same over what is data, in an image whose data lie in runs."""
    source = random.Random(f"changes of data {seed}")
    step, run = 4 * MIB, min(_RUN, data)
    for place in sorted(source.sample(range(data // step), amount // step)):
        number, within = divmod(place * step, run)
        start = number * size // (data // run) // MIB * MIB + within
        for part in range(4):
            yield start + part * MIB, source.randbytes(MIB)
