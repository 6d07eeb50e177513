"""A VM that comes back is the VM that was: its settings, its network cards; the rest is told beforehand."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from harness import Desk
from ovirtbox.beside import AffinityGroup, AffinityLabel, NumaNode, Permission, Quota
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Profile, Vm
from ovirtbox.rights import make_role
from restored import gone

CLOUD_INIT = (
    "<initialization><authorized_ssh_keys>ssh-ed25519 AAAA me</authorized_ssh_keys>"
    "<custom_script>runcmd: [true]</custom_script><dns_servers>192.0.2.1</dns_servers>"
    "<host_name>rich.example.org</host_name><nic_configurations><nic_configuration>"
    "<boot_protocol>static</boot_protocol><ip><address>192.0.2.7</address><gateway>192.0.2.1</gateway>"
    "<netmask>255.255.255.0</netmask></ip><name>eth0</name><on_boot>true</on_boot></nic_configuration>"
    "</nic_configurations>{}<user_name>me</user_name></initialization>"
)
PASSWORD = "<root_password>secret</root_password>"


def rich(box: Box, name: str) -> Vm:
    """A VM with everything that no OVF brings back, on two networks."""
    vm = box.make_vm(
        name, [DiskSpec(4 * MIB, alias=f"{name}-root")], running=False, nics=3, tags=("backup", f"tag-{name}")
    )
    beside, engine = box.world.beside, box.engine
    box.make_profile("dmz", "dmz")
    vm.nics[1].network = vm.nics[1].profile = "dmz"
    vm.nics[2].linked = False
    quota, label = Quota(f"quota-{name}"), AffinityLabel(f"label-{name}", [vm.id])
    group = AffinityGroup(f"group-{name}", vm.cluster, [vm.id])
    beside.quotas[quota.id], beside.labels[label.id], beside.groups[group.id] = quota, label, group
    role = make_role(f"role-{name}", ["run_vm"])
    engine.roles[role.id] = role
    mine = beside.of(vm.id)
    box.disks(vm)[0].quota = quota.id
    mine.quota, mine.initialization = quota.id, CLOUD_INIT.format(PASSWORD)
    mine.numa = [NumaNode(0, 512, [0], [1], "strict"), NumaNode(1, 512, [1])]
    mine.permissions = [Permission(engine.users[engine.user].id, role.id)]
    mine.cdrom = box.add_disk(None, DiskSpec(MIB, format="raw", alias=f"iso-{name}")).id
    vm.properties["LeaseDomainId"] = box.domain("data").id
    return vm


def state(box: Box, vm: Vm) -> dict[str, object]:
    """All of it, as the engine has it."""
    beside = box.world.beside
    mine = beside.of(vm.id)
    return {
        "tags": sorted(vm.tags),
        "nics": [(n.name, n.mac, n.network, n.profile, n.linked, n.plugged) for n in vm.nics],
        "labels": [label.name for label in beside.labels.values() if vm.id in label.vms],
        "groups": [group.name for group in beside.groups.values() if vm.id in group.vms],
        "quota": (mine.quota, [disk.quota for disk in box.disks(vm)]),
        "lease": vm.properties.get("LeaseDomainId"),
        "cloud-init": re.sub(r">\s+<", "><", mine.initialization or "").replace(PASSWORD, "").strip(),
        "numa": [(n.index, n.memory, n.cores, n.pins, n.tune) for n in mine.numa],
        "permissions": [(p.user, p.role) for p in mine.permissions],
        "cd": mine.cdrom,
    }


def test_all_of_it_comes_back(box: Box, desk: Desk) -> None:
    vm = rich(box, "whole")
    before = state(box, vm)
    archive = desk.create(vm)["archive"]
    assert "secret" not in desk.borg("extract", "--stdout", f"{desk.repo}::{archive}")
    gone(box, vm)
    removed = next(tag for tag in box.world.tags.values() if tag.name == "tag-whole")
    del box.world.tags[removed.id]
    plan = desk.run("extract", "--dry-run", f"{desk.repo}::{archive}").ok().out
    assert "set again: tags backup, tag-whole (tag-whole to be made)" in plan
    assert "network card nic2: MAC address" in plan
    assert "network dmz (vNIC profile dmz)" in plan
    assert "not restored: passwords of cloud-init" in plan
    assert all(
        f"set again: {what}" in plan for what in ("cloud-init", "2 NUMA nodes", "lease on data", "CD ")
    )
    desk.run("extract", f"{desk.repo}::{archive}").ok()
    back = box.vm("whole")
    assert state(box, back) == before
    desk.assert_clean()
    gone(box, back)


LOST = (
    ("POST", "/tags"),
    ("POST", "/vms/*/tags"),
    ("POST", "/vms/*/affinitylabels"),
    ("POST", "/clusters/*/affinitygroups/*/vms"),
    ("POST", "/vms/*/permissions"),
    ("POST", "/vms/*/numanodes"),
    ("PUT", "/vms/*/cdroms/*"),
    ("PUT", "/vms/*"),
)


def test_all_of_it_comes_back_once_though_no_answer_is_heard(box: Box, desk: Desk) -> None:
    """Each of them is done, and its answer lost."""
    vm = rich(box, "unheard")
    before = state(box, vm)
    archive = desk.create(vm)["archive"]
    gone(box, vm)
    removed = next(tag for tag in box.world.tags.values() if tag.name == "tag-unheard")
    del box.world.tags[removed.id]
    lost = box.inject.hits["lose"]
    for method, path in LOST:
        box.inject.lose(method, path)
    desk.run("extract", f"{desk.repo}::{archive}").ok()
    assert box.inject.hits["lose"] == lost + len(LOST)
    back = box.vm("unheard")
    assert state(box, back) == before
    desk.assert_clean()
    gone(box, back)


def test_what_the_engine_would_not_tell_stops_no_backup(box: Box, desk: Desk, vm: Vm) -> None:
    box.inject.status("GET", f"/vms/{vm.id}/numanodes", 403)
    box.inject.status("GET", f"/vms/{vm.id}/cdroms", 500, "html", times=1)
    archive = desk.create(vm)["archive"]
    unread = desk.manifest(archive)["vm"]["settings"]["unread"]
    assert [text.split(":")[0] for text in unread] == ["NUMA nodes"]  # the 500 was asked again
    gone(box, vm)
    plan = desk.run("extract", "--dry-run", f"{desk.repo}::{archive}").ok().out
    assert "not restored: what the backup could not read of NUMA nodes" in plan


def test_what_the_engine_has_no_more_is_told_beforehand(box: Box, desk: Desk) -> None:
    vm = rich(box, "less")
    archive = desk.create(vm)["archive"]
    gone(box, vm)
    beside, mine = box.world.beside, vm.properties
    for table in (beside.labels, beside.groups, beside.quotas):
        for key in [key for key, one in table.items() if one.name.endswith("-less")]:
            del table[key]
    box.delete_disk(next(d for d in box.world.disks.values() if d.alias == "iso-less"))
    box.engine.roles = {k: r for k, r in box.engine.roles.items() if r.name != "role-less"}
    desk_plan = desk.run("extract", "--dry-run", "--no-tags", f"{desk.repo}::{archive}").ok().out
    for what in (
        "tags backup, tag-less: left by --no-tags",
        "affinity label label-less: the engine has none",
        "affinity group group-less: the engine has none",
        "quota quota-less: the engine has none",
        f"role role-less for {box.engine.users[box.user].listed_as}: the engine knows no such role",
        "CD ",
    ):
        assert f"not restored: {what}" in desk_plan
    desk.run("extract", "--no-tags", f"{desk.repo}::{archive}").ok()
    back = state(box, box.vm("less"))
    assert (back["tags"], back["labels"], back["quota"], back["cd"]) == ([], [], (None, [None]), None)
    assert mine["LeaseDomainId"] == back["lease"]
    gone(box, box.vm("less"))


@pytest.fixture
def vm(box: Box) -> Iterator[Vm]:
    made = box.make_vm("carded", [DiskSpec(MIB)], running=False, nics=2, tags=("kept",))
    made.nics[1].network = made.nics[1].profile = "lab"
    lab = box.make_profile("lab", "lab")
    box.make_profile("other", "ovirtmgmt")
    yield made
    for other in list(box.world.vms.values()):
        gone(box, other)
    for profile in [p for p in box.world.profiles.values() if p.name in ("lab", "other")]:
        del box.world.profiles[profile.id]
    box.world.beside.networks.pop(box.world.beside.network(lab.network).id)


def lose_network(box: Box, name: str) -> None:
    for profile in [p for p in box.world.profiles.values() if p.network == name]:
        del box.world.profiles[profile.id]
    box.world.beside.networks.pop(box.world.beside.network(name).id)


def cards(box: Box, name: str) -> list[tuple[str, str, bool]]:
    return [(nic.network, nic.profile, nic.linked) for nic in box.vm(name).nics]


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("words", "expected", "status", "told"),
    [
        ([], [("ovirtmgmt", "ovirtmgmt", True), ("", "", True)], 1, "no network, not lab (network lab)"),
        (["--network", "lab=none"], [("ovirtmgmt", "ovirtmgmt", True), ("", "", True)], 0, ""),
        (
            ["--network", "lab=ovirtmgmt/other", "--nics-off"],
            [("ovirtmgmt", "ovirtmgmt", False), ("ovirtmgmt", "other", False)],
            0,
            "",
        ),
        (["--network", "lab=nowhere"], None, 40, "the cluster has no network nowhere"),
        (["--network", "typo=none"], None, 40, "no network card of the archive is on typo"),
        (["--network", "lab=ovirtmgmt/typo"], None, 40, "network ovirtmgmt has no vNIC profile typo"),
    ],
    ids=["unknown", "none", "profile, off", "nowhere", "typo", "no profile"],
)
def test_networks_that_are_not_there(
    box: Box,
    desk: Desk,
    vm: Vm,
    words: list[str],
    expected: list[tuple[str, str, bool]] | None,
    status: int,
    told: str,
) -> None:
    archive = desk.create(vm)["archive"]
    gone(box, vm)
    lose_network(box, "lab")
    if not words:
        plan = desk.run("extract", "--dry-run", f"{desk.repo}::{archive}").ok().out
        assert "the cluster has no network lab: the card comes back on none" in plan
    ran = desk.run("extract", *words, f"{desk.repo}::{archive}").ok(status)
    assert told in ran.err
    assert expected is None or cards(box, "carded") == expected
    assert (expected is None) == (not box.world.vms)


@pytest.mark.parametrize(
    ("words", "status", "kept"),
    [([], 40, None), (["--mac", "new-if-taken"], 0, [False, True]), (["--mac", "new"], 0, [False, False])],
    ids=["keep", "if taken", "new"],
)
def test_mac_addresses_in_use_are_found_before_anything_is_uploaded(
    box: Box, desk: Desk, vm: Vm, words: list[str], status: int, kept: list[bool] | None
) -> None:
    archive = desk.create(vm)["archive"]
    old = [nic.mac for nic in vm.nics]
    gone(box, vm)
    thief = box.make_vm("thief", running=False)
    thief.nics[0].mac = old[0].upper()
    transfers = len(box.world.transfers)
    ran = desk.run("extract", *words, f"{desk.repo}::{archive}").ok(status)
    if kept is None:
        assert f"nic1 has the MAC address {old[0]}, which VM thief has: choose --mac" in ran.err
        assert len(box.world.transfers) == transfers
    else:
        assert [nic.mac == mac for nic, mac in zip(box.vm("carded").nics, old, strict=True)] == kept


def test_addresses_of_another_pool_are_in_nobodys_way(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    old = vm.nics[0].mac
    gone(box, vm)
    pool = next(iter(box.world.beside.mac_pools.values()))
    pool.allow_duplicates = True
    try:
        box.make_vm("twin", running=False).nics[0].mac = old
        desk.run("extract", f"{desk.repo}::{archive}").ok()
    finally:
        pool.allow_duplicates = False
    assert box.vm("carded").nics[0].mac == old


def test_a_tag_that_cannot_be_set_is_a_warning(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    gone(box, vm)
    user = box.make_documented_user("restorer")
    ran = desk.run("extract", f"{desk.repo}::{archive}", **user).ok(1)
    assert "VM carded is restored, but its tag kept could not be set" in ran.err
    assert "tag_management" in ran.err
    assert box.vm("carded").tags == []
    desk.assert_clean()


def test_a_vm_that_lost_its_tag_is_a_finding(box: Box, desk: Desk, vm: Vm) -> None:
    desk.create(vm)
    rules = desk.root / "rules.yaml"
    rules.write_text("vms: {include: {tags: [kept]}}\n")
    asked = {"BORG_OVIRT_CONFIG": str(rules), "BORG_REPO": desk.repo}
    desk.run("vms", desk.repo, **asked).ok()
    assert "every VM with archives is selected" in desk.run("doctor", desk.repo, **asked).out
    vm.tags.clear()
    shown = desk.run("vms", desk.repo, **asked).ok(1).out
    assert "UNSELECTED" in shown
    assert "1 unselected" in shown
    assert (
        "1 VMs have archives and are selected no more: carded" in desk.run("doctor", desk.repo, **asked).out
    )
    rules.write_text("vms: {include: {tags: [kept]}, exclude: {names: [carded]}}\n")
    desk.run("vms", desk.repo, **asked).ok()


@pytest.mark.parametrize("running", [True, False], ids=["up", "down"])
def test_a_disk_goes_into_another_vm_under_another_name(box: Box, desk: Desk, vm: Vm, running: bool) -> None:
    (disk,) = box.disks(vm)
    box.fill(disk, 0, MIB, seed=8)
    archive = desk.create(vm)["archive"]
    other = box.make_vm("taker", [DiskSpec(MIB, bootable=True)], running=running)
    words = ("--disk", f"{disk.alias}=old root", "--attach", "taker")
    plan = desk.run("extract", *words, "--dry-run", f"{desk.repo}::{archive}").ok().out
    assert f"disks for VM taker ({other.id})" in plan
    desk.run("extract", *words, f"{desk.repo}::{archive}").ok()
    made = box.disks(other)[1]
    assert (made.alias, box.sha(made)) == ("old root", box.sha(disk))
    assert [(a.bootable, a.active) for a in other.attachments] == [(True, True), (False, True)]
    if running:
        box.stop_vm(other)


IN_THE_WAY = [
    (["--disk", "carded_Disk1", "--attach", "nobody"], "there is no VM nobody to attach to"),
    (["--disk", "carded_Disk1="], "no disk can be named ''"),
    (["--name", "x²"], "no VM can be named 'x²'"),
    (["--name", "x" * 256], "no VM can be named"),
    (["--name", "taken"], "a VM named taken exists"),
    (["--name", "x", "--storage-domain", "tight"], "less than its critical space of 5 GiB"),
]


@pytest.mark.thin(4)
@pytest.mark.parametrize(("words", "why"), IN_THE_WAY, ids=[why for _, why in IN_THE_WAY])
def test_what_the_engine_would_refuse_is_found_beforehand(
    box: Box, desk: Desk, vm: Vm, words: list[str], why: str
) -> None:
    archive = desk.create(vm)["archive"]
    box.make_vm("taken", running=False)
    if not any(domain.name == "tight" for domain in box.world.domains.values()):
        box.make_domain("tight", capacity=4 << 30).reserve = 5
    made = (set(box.world.disks), len(box.world.transfers))
    for dry in ([], ["--dry-run"]):
        told = desk.run("extract", *words, *dry, f"{desk.repo}::{archive}").ok(40)
        assert why in told.err + told.out
    assert (set(box.world.disks), len(box.world.transfers)) == made


def test_a_mac_pool_without_addresses_is_found_before_anything_is_uploaded(
    box: Box, desk: Desk, vm: Vm
) -> None:
    archive = desk.create(vm)["archive"]
    pool, transfers = next(iter(box.world.beside.mac_pools.values())), len(box.world.transfers)
    last, pool.last = pool.last, pool.first
    try:
        told = desk.run("extract", "--name", "beside", f"{desk.repo}::{archive}").ok(40).err
    finally:
        pool.last = last
    assert "the cluster's MAC pool has 0 addresses left, and 2 new ones are needed" in told
    assert len(box.world.transfers) == transfers


def test_a_right_that_is_missing_stands_in_the_dry_run(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    user = box.make_documented_user("half", without="import_export_vm")
    told = desk.run("extract", "--dry-run", "--name", "x", f"{desk.repo}::{archive}", **user).ok(40).out
    assert "BLOCKED: The user must not make a VM of the archive" in told
    assert "import_export_vm" in told


def test_a_profile_made_by_the_box_names_its_network(box: Box) -> None:
    profile: Profile = box.make_profile("named", "named")
    assert box.world.beside.network("named").name == profile.network
