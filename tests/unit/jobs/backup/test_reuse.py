"""What is reused of an earlier archive: only what is still what the engine holds, and what is still there."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.blocks import MiB
from borg_ovirt.jobs.backup.reuse import Wanted, find_item, why_another
from borg_ovirt.ovirt.facts.chain import LayerFacts
from borg_ovirt.repository.layout import LayerRecord


def uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


NOW = LayerFacts("i", "d", "p", "cow", True, MiB, 5, "qcow2_v3", uid("s"), uid("data"))
THEN = LayerRecord(
    image_id=uid("i"),
    snapshot_id=uid("s"),
    parent=None,
    child=uid("c"),
    format="cow",
    qcow_version="qcow2_v3",
    capacity=MiB,
    actual_size=5,
    size=9,
    storage_domain_id=uid("data"),
    path="x",
).model_copy(update={"parent": "p"})


def another(then: dict[str, object], child: str = "c", owners: tuple[str, ...] = ("s",)) -> str | None:
    now = [uid(owner) for owner in owners]
    return why_another(THEN.model_copy(update=then), [uid("s")], NOW, uid(child), now)


def test_the_same_layer_is_the_same() -> None:
    assert another({}) is None


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ({"snapshot_id": uid("t")}, "not frozen by a snapshot"),
        ({"child": uid("d")}, "the layer above it changed"),
        ({"child": None}, "the layer above it changed"),
        ({"parent": "q"}, "its parent changed"),
        ({"storage_domain_id": uid("lun")}, "its storage domain changed"),
        ({"format": "raw"}, "its format changed"),
        ({"qcow_version": "qcow2_v2"}, "its qcow2 version changed"),
        ({"capacity": MiB - 512}, "its capacity changed"),
        ({"actual_size": 6}, "its actual size changed"),
        ({"template": True}, "template"),
    ],
)
def test_any_difference_makes_it_another(then: dict[str, object], why: str) -> None:
    assert why in str(another(then))


def test_a_layer_under_a_temporary_snapshot_is_never_the_same() -> None:
    assert "not frozen by a snapshot" in str(another({}, owners=()))


def test_the_owner_must_be_the_same_snapshot_too() -> None:
    moved = THEN.model_copy(update={"snapshot_id": uid("t")})
    owners = [uid("s"), uid("t")]
    assert why_another(moved, owners, NOW, uid("c"), owners) == "its snapshot changed"


def found(*, size: int = 8 * MiB, cell: int = MiB, on_grid: bool = True, damaged: bool = False) -> Any:
    """What is found of a disk of 8 MiB, wanted in cells of 1 MiB, in an archive that holds it so."""
    chunks = SimpleNamespace(on_grid=lambda cell: on_grid)
    content = SimpleNamespace(chunks=chunks, damaged=damaged, size=size)
    disk = SimpleNamespace(id=uid("d"), size=size, cell=cell, layers=())
    reader: Any = SimpleNamespace(
        name="web01-1", manifest=SimpleNamespace(disks=[disk]), disk=lambda path: content
    )
    return find_item(reader, Wanted("disks/d.raw", uid("d"), MiB, 8 * MiB))


def test_a_disk_as_it_was_is_reused() -> None:
    assert found().base is not None
    assert found(size=5 * MiB).base is not None, "it has grown"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": 9 * MiB}, "the disk is smaller than in web01-1"),
        ({"cell": MiB // 2}, "another chunk size"),
        ({"cell": 2 * MiB}, "another chunk size"),
        ({"on_grid": False}, "not on the grid"),
        ({"damaged": True}, "lost chunks"),
    ],
)
def test_an_item_that_is_not_as_it_was_is_read_whole(change: dict[str, Any], why: str) -> None:
    assert found(**change).base is None
    assert why in found(**change).reason
