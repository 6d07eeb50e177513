"""The plan of a restore: nearest forms, new ids, every blocker."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from borg_ovirt.blocks import GiB, MiB
from borg_ovirt.jobs.restore.plan import Domain, RestoreChoices, RestorePlan, Site, plan_restore
from borg_ovirt.repository.layout import (
    DiskRecord,
    DiskRunRecord,
    Manifest,
    RunRecord,
    SkippedDisk,
    VmRecord,
    disk_path,
)

WHEN = datetime(2026, 3, 2, tzinfo=timezone.utc)


def uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def disk(name: str, **more: Any) -> DiskRecord:
    facts = {
        "id": uid(name),
        "alias": name,
        "size": GiB,
        "format": "cow",
        "sparse": True,
        "image_id": uid(name + "image"),
        "storage_domain_id": uid("data"),
        "storage_domain": "data",
        "path": disk_path(uid(name)),
        "run": DiskRunRecord(kind_asked="full", kind="full", bytes_zero=GiB - 100 * MiB),
        **more,
    }
    return DiskRecord.model_validate(facts)


def manifest(*disks: DiskRecord, **vm: Any) -> Manifest:
    return Manifest(
        mode="image",
        vm=VmRecord(id=uid("vm"), name="web01", cluster_id=uid("cluster"), cluster="Default", **vm),
        disks=disks,
        run=RunRecord(
            tool_version="1",
            host="h",
            engine="e",
            kind="full",
            way="hybrid backup",
            consistency_asked="auto",
            consistency="unknown",
            started=WHEN,
            ended=WHEN,
        ),
        skipped=(SkippedDisk(id=uid("lun"), alias="lun", reason="direct LUN"),),
    )


SITE = Site(
    domains=(
        Domain(uid("data"), "data", False, 10 * GiB, "active", uid("dc")),
        Domain(uid("san"), "san", True, 10 * GiB, "active", uid("dc")),
        Domain(uid("old"), "old", False, 10 * GiB, "maintenance", uid("dc")),
        Domain(uid("far"), "far", False, 10 * GiB, "active", uid("other dc")),
    ),
    clusters={uid("cluster"): ("Default", uid("dc")), uid("second"): ("Second", uid("dc"))},
    vm_ids=frozenset(),
    vm_names=frozenset(),
    disk_ids=frozenset(),
)


def plan(
    *disks: DiskRecord, site: Site = SITE, vm: dict[str, Any] | None = None, **choices: Any
) -> RestorePlan:
    return plan_restore(manifest(*disks, **(vm or {})), site, RestoreChoices(**choices))


def test_the_original_keeps_its_ids_and_its_place() -> None:
    made = plan(disk("root"))
    assert made.blockers == ()
    assert (made.vm_id, made.vm_name, made.ids) == (uid("vm"), "web01", {})
    assert (made.disks[0].disk_id, made.disks[0].image_id) == (uid("root"), uid("rootimage"))
    assert made.disks[0].domain.name == "data"
    assert any("lun is not in the archive" in note for note in made.notes)


def test_beside_the_original_every_id_is_new() -> None:
    made = plan(disk("root"), name="copy")
    assert set(made.ids) == {uid("vm"), uid("root"), uid("rootimage")}
    assert set(made.ids).isdisjoint(made.ids.values())
    assert made.vm_id == made.ids[uid("vm")]
    assert (made.disks[0].disk_id, made.disks[0].image_id) == (
        made.ids[uid("root")],
        made.ids[uid("rootimage")],
    )


def test_disks_alone_make_no_vm() -> None:
    made = plan(disk("root"), disk("data"), disks=("data",))
    assert made.vm_name is None
    assert [d.record.alias for d in made.disks] == ["data"]
    assert made.disks[0].disk_id != uid("data")


@pytest.mark.parametrize(
    ("facts", "domain", "form"),
    [
        ({"format": "raw", "sparse": True}, "data", ("raw", True, "none")),
        ({"format": "raw", "sparse": True}, "san", ("raw", False, "none")),
        ({"format": "raw", "sparse": False}, "san", ("raw", False, "none")),
        ({"format": "cow", "sparse": True, "backup": "incremental"}, "san", ("cow", True, "incremental")),
        ({"format": "cow", "sparse": False, "backup": "incremental"}, "data", ("cow", False, "incremental")),
        ({"format": "cow", "sparse": False}, "data", ("cow", True, "none")),
        ({"format": "raw", "sparse": True, "backup": "incremental"}, "data", ("cow", True, "incremental")),
    ],
)
def test_the_nearest_form_that_the_domain_takes(
    facts: dict[str, Any], domain: str, form: tuple[str, bool, str]
) -> None:
    (made,) = plan(disk("root", **facts), storage_domain=domain).disks
    assert (made.format, made.sparse, made.backup) == form
    changed = (made.format, made.sparse) != (facts["format"], facts["sparse"])
    assert bool(made.notes) == changed
    assert made.reads_zero == (not (domain == "san" and made.format == "raw"))


@pytest.mark.parametrize(
    ("change", "choices", "words"),
    [
        ({"vm_ids": frozenset({uid("vm")})}, {}, "VM web01"),
        ({"vm_names": frozenset({"copy"})}, {"name": "copy"}, "VM named copy exists"),
        ({"disk_ids": frozenset({uid("root")})}, {}, "disk root"),
        ({"clusters": {}}, {}, "no cluster Default"),
        ({}, {"cluster": "nowhere"}, "no cluster nowhere"),
        ({}, {"storage_domain": "nowhere"}, "no storage domain nowhere"),
        ({}, {"storage_domain": "old"}, "old is maintenance"),
        ({}, {"storage_domain": "far"}, "another data center"),
        ({}, {"disks": ("nope",)}, "no disk nope"),
    ],
)
def test_every_blocker_is_named(change: dict[str, Any], choices: dict[str, Any], words: str) -> None:
    made = plan(disk("root"), site=replace(SITE, **change), **choices)
    assert any(words in blocker for blocker in made.blockers), made.blockers
    assert f"BLOCKED: {made.blockers[0]}" in made.lines()


def test_space_is_counted_over_all_disks_of_a_domain() -> None:
    small = replace(SITE, domains=(Domain(uid("data"), "data", False, 150 * MiB, "active", uid("dc")),))
    assert plan(disk("a"), site=small).blockers == ()
    assert "free" in plan(disk("a"), disk("b"), site=small).blockers[0]
    assert "free" in plan(disk("a", format="raw", sparse=False), site=small).blockers[0]


def test_a_map_of_domains_goes_before_the_one_for_all() -> None:
    made = plan(disk("a"), disk("b"), storage_domain="data", storage_domains={"b": "san"})
    assert [d.domain.name for d in made.disks] == ["data", "san"]


def test_a_cluster_of_the_same_name_will_do_in_another_engine() -> None:
    site = replace(SITE, clusters={uid("new"): ("Default", uid("dc"))})
    assert plan(disk("a"), site=site).cluster_id == uid("new")


def test_state_that_is_lost_is_said() -> None:
    notes = plan(disk("a"), vm={"tpm": True, "bios_type": "q35_secure_boot"}).notes
    assert any("TPM" in note for note in notes)
    assert any("UEFI" in note for note in notes)
