"""Hashes and frames made on any thread are those that Borg makes on its one."""

from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from borg.compress import CompressionSpec, Compressor
from borg.crypto.low_level import blake2b_256, hmac_sha256
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.repository import frames

DICE = random.Random(7)
SAMPLES = [
    b"\0" * 100_000,
    b"",
    b"a",
    DICE.randbytes(70_000),
    DICE.randbytes(500) * 300,
    b"".join(bytes([n % 7]) * (n % 90) for n in range(3000)),
]


@given(st.binary(max_size=2000), st.sampled_from([32, 64, 128]))
def test_ids(data: bytes, length: int) -> None:
    key = bytes(range(length))
    assert frames.hmac_sha256_id(key)(memoryview(data)) == hmac_sha256(key, data)
    assert frames.blake2b_id(key)(memoryview(data)) == blake2b_256(key, data)


def spec(name: str) -> tuple[frames.Framer, object]:
    ours = CompressionSpec(name)
    framer = frames.framer(ours.name, getattr(ours, "level", None))
    assert framer is not None
    return framer, ours.compressor


@pytest.mark.parametrize("name", ["lz4", "zstd", "zstd,1", "zstd,12"])
def test_frames_are_read_by_borg_and_are_its_own(name: str) -> None:
    framer, stock = spec(name)
    for data in SAMPLES:
        frame = framer(memoryview(data))
        assert len(frame) == len(data)
        assert Compressor("none").decompress(memoryview(frame.payload)) == data
        expected = stock.compress(data)  # type: ignore[attr-defined]
        assert frame.payload[:2] == expected[:2]
        if name == "lz4":
            assert frame.payload == expected
        elif frame.payload[:1] == b"\x03":
            # Borg's libzstd may be another release than ours; what the frame declares must not differ.
            ours, theirs = map(zstandard.get_frame_parameters, (frame.payload[2:], expected[2:]))
            for field in ("content_size", "has_checksum", "dict_id"):
                assert getattr(ours, field) == getattr(theirs, field)


def test_others_are_left_to_borg() -> None:
    for name in ("none", "zlib,6", "lzma,1", "auto,lz4", "obfuscate,110,zstd"):
        ours = CompressionSpec(name)
        assert frames.framer(ours.name, getattr(ours, "level", None)) is None


@pytest.mark.parametrize("name", ["lz4", "zstd,3"])
def test_many_threads_do_not_spoil_each_other(name: str) -> None:
    """The very thing that Borg's own compressors cannot do."""
    framer, _ = spec(name)
    cells = [os.urandom(20_000) + bytes(range(256)) * 800 + os.urandom(n) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda cell: framer(memoryview(cell)).payload, cells))
    reader = Compressor("none")
    assert [reader.decompress(memoryview(payload)) for payload in made] == cells
