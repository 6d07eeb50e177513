"""The plan of a restore: nearest forms, new ids, every blocker."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from borg_ovirt.blocks import GiB, MiB
from borg_ovirt.errors import UsageError
from borg_ovirt.jobs.restore.health import Health
from borg_ovirt.jobs.restore.into_files import Folder, plan_into_files
from borg_ovirt.jobs.restore.into_ovirt_plan import plan_into_ovirt
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.placing import first_size
from borg_ovirt.jobs.restore.plan import RestorePlan, VmPlan
from borg_ovirt.jobs.restore.site import Domain, Site
from borg_ovirt.jobs.restore.wanted import want
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.repository.layout import (
    DiskRecord,
    DiskRunRecord,
    Manifest,
    RunRecord,
    SkippedDisk,
    SnapshotRecord,
    VmRecord,
    disk_path,
)

SOUND = Health()
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
    *disks: DiskRecord,
    site: Site = SITE,
    vm: dict[str, Any] | None = None,
    health: Health = SOUND,
    **choices: Any,
) -> RestorePlan:
    options = RestoreOptions(**choices)
    wanted = want("a", manifest(*disks, **(vm or {})), options)
    return plan_into_ovirt(wanted, health, site, options)


def machine(made: RestorePlan) -> VmPlan:
    assert made.vm is not None
    return made.vm


def test_the_original_keeps_its_ids_and_its_place() -> None:
    made = plan(disk("root"))
    assert made.blockers == ()
    assert (machine(made).id, machine(made).name, machine(made).ids) == (uid("vm"), "web01", {})
    assert (made.disks[0].disk_id, made.disks[0].image_id) == (uid("root"), uid("rootimage"))
    assert made.disks[0].domain.name == "data"
    assert any("lun is not in the archive" in note for note in made.notes)


def test_beside_the_original_every_id_is_new() -> None:
    made = plan(disk("root"), name="copy")
    assert set(machine(made).ids) == {uid("vm"), uid("root"), uid("rootimage")}
    assert set(machine(made).ids).isdisjoint(machine(made).ids.values())
    assert machine(made).id == machine(made).ids[uid("vm")]
    assert (made.disks[0].disk_id, made.disks[0].image_id) == (
        machine(made).ids[uid("root")],
        machine(made).ids[uid("rootimage")],
    )


def test_what_the_archive_or_the_engine_does_not_have_is_told() -> None:
    archived = manifest(disk("root", quota=uid("q")))
    snapshots = (SnapshotRecord(id=uid("s"), description="before"),)
    wanted = want("a", archived.model_copy(update={"snapshots": snapshots}), RestoreOptions())
    lost = plan_into_ovirt(wanted, SOUND, SITE, RestoreOptions()).lost
    assert any(text.startswith("snapshots before: ") for text in lost)
    assert any(text.startswith(f"quota of disk root ({uid('root')}): ") for text in lost)


def test_disks_alone_make_no_vm() -> None:
    made = plan(disk("root"), disk("data"), disks=("data",))
    assert made.vm is None
    assert [d.alias for d in made.disks] == ["data"]
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
    (made,) = plan(disk("root", **facts), storage_domains={"": domain}).disks
    assert (made.format, made.sparse, made.backup) == form
    changed = (made.format, made.sparse) != (facts["format"], facts["sparse"])
    assert bool(made.notes) == changed
    assert made.reads_zero == (not (domain == "san" and made.format == "raw"))


@pytest.mark.parametrize(
    ("change", "choices", "words"),
    [
        ({"vm_ids": frozenset({uid("vm")})}, {}, "VM web01"),
        ({"vm_names": frozenset({"copy"})}, {"name": "copy"}, "VM named copy exists"),
        ({}, {"name": "two words"}, "no VM can be named 'two words'"),
        ({}, {"name": "x" * 256}, "no VM can be named"),
        ({"disk_ids": frozenset({uid("root")})}, {}, "disk root"),
        ({"clusters": {}}, {}, "no cluster Default"),
        ({}, {"cluster": "nowhere"}, "no cluster nowhere"),
        ({}, {"storage_domains": {"": "nowhere"}}, "no storage domain nowhere"),
        ({}, {"storage_domains": {"": "old"}}, "old is maintenance"),
        ({}, {"storage_domains": {"": "far"}}, "another data center"),
        ({}, {"disks": ("nope",)}, "no disk nope"),
    ],
)
def test_every_blocker_is_named(change: dict[str, Any], choices: dict[str, Any], words: str) -> None:
    made = plan(disk("root"), site=replace(SITE, **change), **choices)
    assert any(words in blocker for blocker in made.blockers), made.blockers
    assert f"BLOCKED: {made.blockers[0]}" in made.lines()


@pytest.mark.parametrize("name", ["Straße_1.a-b", "δίσκος", "7", "x" * 255])
def test_a_name_is_of_letters_and_digits_of_any_script(name: str) -> None:
    assert plan(disk("root"), name=name).blockers == ()


def test_space_is_counted_over_all_disks_of_a_domain() -> None:
    small = replace(SITE, domains=(Domain(uid("data"), "data", False, 150 * MiB, "active", uid("dc")),))
    assert plan(disk("a"), site=small).blockers == ()
    assert "free" in plan(disk("a"), disk("b"), site=small).blockers[0]
    assert "free" in plan(disk("a", format="raw", sparse=False), site=small).blockers[0]


def test_a_map_of_domains_goes_before_the_one_for_all() -> None:
    made = plan(disk("a"), disk("b"), storage_domains={"": "data", "b": "san"})
    assert [d.domain.name for d in made.disks] == ["data", "san"]


def test_a_cluster_of_the_same_name_will_do_in_another_engine() -> None:
    site = replace(SITE, clusters={uid("new"): ("Default", uid("dc"))})
    assert machine(plan(disk("a"), site=site)).cluster_id == uid("new")


def test_state_that_is_lost_is_said() -> None:
    notes = plan(disk("a"), vm={"tpm": True, "bios_type": "q35_secure_boot"}).notes
    assert any("TPM" in note for note in notes)
    assert any("UEFI" in note for note in notes)


def test_floating_disks_need_no_cluster() -> None:
    assert plan(disk("root"), site=replace(SITE, clusters={}), disks=("root",)).blockers == ()


def test_a_disk_named_twice_is_one() -> None:
    assert len(plan(disk("root"), disks=("root", uid("root"))).disks) == 1


LOST = Health(
    faults=("disk root is damaged: the repository lost chunks of it",), damaged=frozenset({uid("root")})
)


@pytest.mark.parametrize(
    "choices", [{}, {"name": "copy"}, {"disks": ("root",)}, {"disks": ("root",), "over": "x"}]
)
def test_damage_is_in_the_way_of_every_restore(choices: dict[str, Any]) -> None:
    made = plan(disk("root"), health=LOST, site=replace(SITE, over=there()), yes=True, **choices)
    assert made.blockers == LOST.faults


def test_a_lost_configuration_is_in_the_way_of_a_vm_alone() -> None:
    lost = Health(ovf_damaged=True)
    assert "vm.ovf" in plan(disk("root"), health=lost).blockers[0]
    assert plan(disk("root"), health=lost, disks=("root",)).blockers == ()


def there(**more: Any) -> DiskFacts:
    facts = {"alias": "there", "size": 2 * GiB, "format": "cow", "sparse": True, "storage_type": "image"}
    return DiskFacts(uid("there"), **{**facts, "status": "ok", "storage_domain": uid("san"), **more})


def test_over_a_disk_that_exists() -> None:
    made = plan(disk("root"), site=replace(SITE, over=there()), disks=("root",), over=uid("there"), yes=True)
    assert made.blockers == ()
    (written,) = made.disks
    assert (written.disk_id, written.size, written.exists) == (uid("there"), 2 * GiB, True)
    assert not written.reads_zero, "what lay there would shine through"
    assert written.domain.block
    assert made.vm is None
    assert "is overwritten with root" in "".join(made.lines())


@pytest.mark.parametrize(
    ("change", "yes", "words"),
    [
        ({"over": None}, True, "no disk x"),
        ({"over": there(size=GiB - 512)}, True, "has 1,024.0 MiB, the archived one 1.0 GiB"),
        ({"over": there(status="locked")}, True, "is locked"),
        ({"over": there(shareable=True)}, True, "shareable"),
        ({"over": there(), "users": (("web", "up"),)}, True, "VM web, which uses the disk, is up"),
        ({"over": there(), "users": (("web", "down"),)}, False, "--yes"),
    ],
)
def test_what_is_in_the_way_of_overwriting(change: dict[str, Any], yes: bool, words: str) -> None:
    made = plan(disk("root"), site=replace(SITE, **change), disks=("root",), over="x", yes=yes)
    assert len(made.blockers) == 1
    assert words.split(",")[0] in made.blockers[0]


@pytest.mark.parametrize("option", ["flatten", "snapshot"])
def test_what_is_for_chains_is_refused_by_name(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}: archive a holds no snapshot chains"):
        plan(disk("root"), **{option: "x"})


SMALL = {"vm.ovf": bytes(9), "manifest.json": bytes(99)}


def files(
    *disks: DiskRecord, health: Health = SOUND, folder: Folder | None = None, **more: Any
) -> RestorePlan:
    options = RestoreOptions(directory=Path("/r"), **more)
    return plan_into_files(
        want("a", manifest(*disks), options), health, folder or Folder(small=SMALL), options
    )


def test_into_files_every_disk_has_one() -> None:
    made = files(disk("a"), disk("b"))
    assert [(str(f.path), f.size, f.item) for f in made.files] == [
        ("/r/vm.ovf", 9, "vm.ovf"),
        ("/r/manifest.json", 99, "manifest.json"),
        *((f"/r/{uid(name)}.raw", GiB, disk_path(uid(name))) for name in "ab"),
    ]
    (only,) = files(disk("a"), disk("b"), disks=("b",), form="qcow2").files[2:]
    assert (only.path.name, only.item) == (f"{uid('b')}.qcow2", None)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"health": LOST}, "disk root is damaged"),
        ({"health": Health(ovf_damaged=True)}, "vm.ovf"),
        ({"disks": ("nope",)}, "no disk nope"),
        ({"folder": Folder(is_file=True)}, "not a directory"),
        ({"folder": Folder(names=frozenset({f"{uid('root')}.raw"}))}, "already holds"),
        ({"folder": Folder(has_qemu_img=False), "form": "qcow2"}, "needs qemu-img"),
    ],
)
def test_what_is_in_the_way_of_files(more: dict[str, Any], words: str) -> None:
    made = files(disk("root"), **more)
    assert len(made.blockers) == 1
    assert words in made.blockers[0]


def test_what_a_killed_restore_left_is_told_and_in_nobodys_way() -> None:
    made = files(disk("root"), folder=Folder(small=SMALL, left=(".borg-ovirt-x",)))
    assert made.blockers == ()
    assert ".borg-ovirt-x" in made.notes[0]


def test_without_the_configuration_single_disks_can_be_saved() -> None:
    made = files(disk("root"), health=Health(ovf_damaged=True), folder=Folder(), disks=("root",))
    assert made.blockers == ()
    assert "vm.ovf is damaged and left out" in made.notes


@pytest.mark.parametrize(
    ("zeros", "domain", "size"),
    [
        (GiB - 100 * MiB, "san", 100 * MiB + 17 * MiB),
        (0, "san", GiB + 17 * MiB),
        (0, "data", None),
    ],
)
def test_a_thin_volume_of_block_storage_has_room_for_its_data(
    zeros: int, domain: str, size: int | None
) -> None:
    run = DiskRunRecord(kind_asked="full", kind="full", bytes_zero=zeros)
    made = plan(disk("root", run=run), storage_domains={"": domain})
    assert first_size(made.disks[0]) == size
