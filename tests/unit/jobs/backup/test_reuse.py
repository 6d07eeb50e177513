"""What is reused of an earlier archive: only what is still what the engine holds, and what is still there."""

from __future__ import annotations

import uuid

import pytest

from borg_ovirt.blocks import MiB
from borg_ovirt.jobs.backup.reuse import why_another
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
