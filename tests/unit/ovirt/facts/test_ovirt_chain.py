"""Chains composed from layers in any order, and refused when they are none."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import MiB
from borg_ovirt.errors import BackupFailed
from borg_ovirt.ovirt.facts.chain import LayerFacts, check_head, compose
from borg_ovirt.ovirt.facts.model import DiskFacts

DISK = DiskFacts("d", "web01_Disk1", MiB, "cow", True, "image", image_id="i3")


def layer(number: int, **changes: object) -> LayerFacts:
    plain = LayerFacts(f"i{number}", "d", f"i{number - 1}" if number else None, "cow", True, MiB)
    return replace(plain, **changes)  # type: ignore[arg-type]


@given(count=st.integers(1, 8), seed=st.integers())
def test_any_order_gives_the_chain(count: int, seed: int) -> None:
    layers = [layer(n) for n in range(count)]
    shuffled = random.Random(seed).sample(layers, count)
    chain = compose(replace(DISK, image_id=f"i{count - 1}"), shuffled)
    assert list(chain.layers) == layers
    assert chain.active == layers[-1]
    assert list(chain.frozen) == layers[:-1]


def test_an_engine_that_leaves_out_the_active_layer() -> None:
    chain = compose(DISK, [layer(2), layer(0), layer(1)])
    assert [x.image_id for x in chain.layers] == ["i0", "i1", "i2", "i3"]
    assert chain.active.parent == "i2"
    assert (chain.active.format, chain.active.capacity) == ("cow", MiB)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([layer(1), layer(2), layer(3)], "rest on i0, which the engine does not list"),
        ([], "no layer is its base"),
        ([layer(0), layer(1, parent=None)], "2 layers are its base"),
        ([layer(0), layer(1), layer(2, parent="i0"), layer(3)], "2 layers rest on i0"),
        ([layer(0), layer(3, parent="i2"), layer(2, parent="i3")], "i2, i3 belong to no chain"),
        ([layer(0), layer(3, parent="i0"), layer(4, parent="i3")], "i4 lies on the active layer i3"),
        ([layer(0), layer(3, parent="i0", status="illegal")], "calls i3 illegal"),
    ],
)
def test_what_is_no_chain_is_refused(layers: list[LayerFacts], why: str) -> None:
    with pytest.raises(BackupFailed, match=why):
        compose(DISK, layers)


@pytest.fixture
def head(tmp_path: Path) -> bytes:
    path = tmp_path / "i1"
    command = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "i0", "-F", "raw", str(path), "1M"]
    subprocess.run(command, check=True)
    return path.read_bytes()


def test_a_head_that_agrees(head: bytes) -> None:
    check_head("disk", layer(1), head)
    check_head("disk", layer(1, format="raw"), b"anything at all")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"parent": "i9"}, "parent of layer i1 is i9 for the engine, i0 in its file"),
        ({"parent": None}, "is none for the engine, i0 in its file"),
        ({"capacity": MiB + 512}, "has 1049088 bytes for the engine, 1048576 in its file"),
        ({"capacity": MiB - 512}, "has 1048064 bytes for the engine, 1048576 in its file"),
    ],
)
def test_a_head_that_disagrees(head: bytes, wrong: dict[str, object], why: str) -> None:
    with pytest.raises(BackupFailed, match=why):
        check_head("disk", layer(1, **wrong), head)


def test_a_head_that_is_none() -> None:
    with pytest.raises(BackupFailed, match="should be qcow2"):
        check_head("disk", layer(1), bytes(4096))
