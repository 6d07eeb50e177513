"""The plan of a chain restore, and what makes a layer another one than the archived."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

import pytest

from borg_ovirt.blocks import MiB
from borg_ovirt.errors import ArchiveNotFound
from borg_ovirt.jobs.restore.chains import describe, initial_size
from borg_ovirt.jobs.restore.health import Health
from borg_ovirt.jobs.restore.into_ovirt_plan import plan_into_ovirt
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import DiskPlan, RestorePlan
from borg_ovirt.jobs.restore.site import Domain, Site
from borg_ovirt.jobs.restore.wanted import as_of, want
from borg_ovirt.qcow2 import Header
from borg_ovirt.repository.layout import (
    DiskRecord,
    LayerRecord,
    Manifest,
    RunRecord,
    SnapshotRecord,
    VmRecord,
    chain_path,
    layer_path,
)

WHEN = datetime(2024, 3, 2, 10, tzinfo=timezone.utc)


def uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def disk(name: str, *owners: str | None, template: int = 0, base: str = "cow") -> DiskRecord:
    """A disk with a layer for each owner, base first; None is the active snapshot."""
    disk_id, below, layers = uid(name), None, []
    for number, owner in enumerate(owners):
        image = uid(f"{name}{number}")
        layers.append(
            LayerRecord(
                image_id=image,
                snapshot_id=None if number < template else uid(owner or "active"),
                parent=below,
                format="raw" if base == "raw" and not number else "cow",
                capacity=MiB,
                size=200_000 + number,
                path=layer_path(disk_id, image),
                template=number < template,
            )
        )
        below = image
    return DiskRecord(
        id=disk_id,
        alias=name,
        size=MiB,
        format="cow",
        sparse=True,
        image_id=below,
        storage_domain="data",
        path=chain_path(disk_id),
        layers=tuple(layers),
        backup="incremental",
    )


def manifest(*disks: DiskRecord, snapshots: tuple[str, ...]) -> Manifest:
    run = RunRecord(
        tool_version="1",
        host="h",
        engine="e",
        kind="full",
        way="temporary snapshot",
        consistency_asked="auto",
        consistency="frozen",
        started=WHEN,
        ended=WHEN,
    )
    return Manifest(
        mode="chain",
        vm=VmRecord(id=uid("vm"), name="web01", cluster_id=uid("cluster")),
        disks=disks,
        snapshots=tuple(SnapshotRecord(id=uid(s), description=s, date=WHEN) for s in snapshots),
        run=run,
    )


def site(*, block: bool = False) -> Site:
    domain = Domain(uid("data"), "data", block, 1 << 40, "active", None)
    return Site((domain,), {uid("cluster"): ("Default", None)})


def plan_chains(archived: Manifest, where: Site, options: RestoreOptions) -> RestorePlan:
    """The plan for an archive whose headers say what its manifest says."""
    wanted = want("a", archived, options)
    headers = {
        layer.image_id: Header(3, layer.capacity, layer.parent, 512)
        for _, layer in wanted.layers
        if layer.format == "cow"
    }
    return plan_into_ovirt(wanted, Health(headers=headers), where, options)


def parents(disk: DiskPlan) -> list[str | None]:
    """The parent that each layer names when it is uploaded."""
    return [x.patch.data.decode() if x.patch else x.record.parent for x in disk.layers]


THREE = manifest(
    disk("a", "one", "two", None),
    disk("b", "two", None, base="raw"),
    disk("c", None),
    snapshots=("one", "two"),
)


def test_each_snapshot_names_the_next_layer_of_its_disks() -> None:
    plan = plan_chains(THREE, site(), RestoreOptions())
    assert plan.blockers == ()
    a, b, c = uid("a"), uid("b"), uid("c")
    assert [(s.description[:3], {d: x.image_id for d, x in s.layers.items()}) for s in plan.snapshots] == [
        ("one", {a: uid("a1")}),
        ("two", {a: uid("a2"), b: uid("b1")}),
    ]
    assert [d.disk_id for d in plan.disks] == [a, b, c]
    assert [d.image_id for d in plan.disks] == [uid("a0"), uid("b0"), uid("c0")]
    assert [(d.format, d.backup) for d in plan.disks] == [
        ("cow", "incremental"),
        ("raw", "none"),
        ("cow", "incremental"),
    ]
    assert {layer.patch for d in plan.disks for layer in d.layers} == {None}


def test_block_storage_gets_room_for_each_layer() -> None:
    plan = plan_chains(THREE, site(block=True), RestoreOptions())
    sizes = [x.initial_size for step in plan.snapshots for x in step.layers.values()]
    assert sizes == [200_001, 200_002, 200_001]


def test_a_preallocated_file_that_is_larger_than_its_volume_would_be_becomes_thin() -> None:
    fixed = disk("a", None)
    for size, sparse in ((128 * MiB, False), (128 * MiB + 1, True)):
        layers = (fixed.layers[0].model_copy(update={"sparse": False, "size": size}),)
        plan = plan_chains(
            manifest(fixed.model_copy(update={"layers": layers}), snapshots=()),
            site(block=True),
            RestoreOptions(),
        )
        assert [d.sparse for d in plan.disks] == [sparse]
        assert any("becomes sparse" in line for line in plan.lines()) is sparse
    assert initial_size(plan.disks[0], layers[0]) == 128 * MiB  # no more than such a volume can become


def test_beside_the_original_every_id_and_every_parent_is_new() -> None:
    plan = plan_chains(THREE, site(), RestoreOptions(name="copy"))
    for planned, old in zip(plan.disks, THREE.disks, strict=True):
        new = [layer.image_id for layer in planned.layers]
        assert not set(new) & {layer.image_id for layer in old.layers}
        assert parents(planned) == [None, *new[:-1]]
        assert plan.vm is not None
        assert {plan.vm.ids[layer.record.image_id] for layer in planned.layers} == set(new)
        assert plan.vm.ids[old.id] == planned.disk_id
    named = {x.image_id for step in plan.snapshots for x in step.layers.values()}
    assert named == {layer.image_id for d in plan.disks for layer in d.layers[1:]}


def test_the_image_of_a_template_comes_back_under_another_id() -> None:
    thin = manifest(disk("t", None, "one", None, template=1), snapshots=("one",))
    plan = plan_chains(thin, site(), RestoreOptions())
    (planned,) = plan.disks
    assert planned.image_id == planned.layers[0].image_id != uid("t0")
    assert [layer.image_id for layer in planned.layers[1:]] == [uid("t1"), uid("t2")]
    assert parents(planned) == [None, planned.image_id, uid("t1")]
    assert [x.patch is None for x in planned.layers] == [True, False, True]
    assert [s.description[:5] for s in plan.snapshots] == ["image", "one ("]
    assert plan.vm is not None
    assert plan.vm.ids == {}  # the VM is the original: its cards keep their addresses
    assert any("independent" in line for line in plan.lines())


def test_a_snapshot_of_no_disk_stays_one() -> None:
    plan = plan_chains(manifest(disk("a", "two", None), snapshots=("one", "two")), site(), RestoreOptions())
    assert [len(step.layers) for step in plan.snapshots] == [0, 1]


def test_a_chain_that_ends_at_a_snapshot_gets_an_empty_layer() -> None:
    plan = plan_chains(manifest(disk("a", "one", "two"), snapshots=("one", "two")), site(), RestoreOptions())
    assert [x.image_id for s in plan.snapshots for x in s.layers.values()] == [uid("a1"), None]
    assert plan.blockers == ()


def test_layers_that_no_snapshot_accounts_for_block_the_restore() -> None:
    plan = plan_chains(manifest(disk("a", "one", "lost", None), snapshots=("one",)), site(), RestoreOptions())
    assert plan.blockers == ("the layers of disk a do not follow the snapshots of the archive",)


def test_as_of_a_snapshot() -> None:
    cut, chosen = as_of(THREE, "two")
    assert chosen.id == uid("two")
    assert [s.description for s in cut.snapshots] == ["one"]
    assert [(d.alias, len(d.layers), d.format) for d in cut.disks] == [("a", 2, "cow"), ("b", 1, "raw")]
    assert [d.image_id for d in cut.disks] == [uid("a1"), uid("b0")]
    assert as_of(THREE, uid("one"))[1].description == "one"
    assert plan_chains(cut, site(), RestoreOptions()).blockers == ()


def test_a_description_that_two_snapshots_have_needs_an_id() -> None:
    twice = THREE.model_copy(
        update={"snapshots": tuple(s.model_copy(update={"description": "x"}) for s in THREE.snapshots)}
    )
    with pytest.raises(ArchiveNotFound, match="2 snapshots called x"):
        as_of(twice, "x")


def test_the_original_date_is_told_once() -> None:
    record = SnapshotRecord(id=uid("s"), description="before upgrade", date=WHEN)
    told = describe(record)
    assert told == "before upgrade (taken 2024-03-02 10:00:00 UTC)"
    later = record.model_copy(update={"description": told, "date": datetime.now(timezone.utc)})
    assert describe(later) == told
    assert describe(record.model_copy(update={"date": None})) == "before upgrade"
