"""A whole site is lost and comes back at a second one: other cluster, other domains, other networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.beside import AffinityGroup, AffinityLabel, NumaNode, Permission, Quota
from ovirtbox.box import GIB, MIB, Box, DiskSpec
from ovirtbox.model import Vm
from ovirtbox.rights import make_role
from picture import as_planned, picture
from restored import gone

NETWORKS = ("front", "back", "storage")


def rich(box: Box, vm: Vm, where: str) -> None:
    """With everything beside its OVF, of names that have `where` in them."""
    beside, engine, mine = box.world.beside, box.engine, box.world.beside.of(vm.id)
    quota, label = Quota(f"quota-{where}"), AffinityLabel(f"label-{where}", [vm.id])
    group = AffinityGroup(f"group-{where}", vm.cluster, [vm.id])
    role = make_role(f"role-{where}", ["run_vm"])
    beside.quotas[quota.id], beside.labels[label.id], beside.groups[group.id] = quota, label, group
    engine.roles[role.id] = role
    mine.permissions = [Permission(engine.users[engine.user].id, role.id)]
    mine.quota = box.disks(vm)[0].quota = quota.id
    mine.numa = [NumaNode(0, 512, [0], [1], "strict"), NumaNode(1, 512, [1])]
    mine.initialization = "<initialization><host_name>rich.example.org</host_name></initialization>"
    mine.cdrom = box.add_disk(None, DiskSpec(MIB, format="raw", alias=f"iso-{where}")).id
    vm.properties["LeaseDomainId"] = box.domain("data").id
    vm.delete_protected, vm.level, vm.memory, vm.cores = True, (4, 6), GIB // 2, 2
    vm.description, vm.bios_type = f"rich, {where}", "q35_ovmf"


@pytest.fixture(scope="module")
def site(box: Box) -> list[Vm]:
    """Eight VMs: two clusters, three networks, chains, thin ones of a template."""
    box.make_cluster("Edge", (4, 6))
    for name in NETWORKS:
        box.make_profile(name, name)
    template = box.make_template("golden", [DiskSpec(2 * MIB, content=[(0, b"golden" * 100)])])
    vms = [box.make_thin_vm(f"thin{number}", template) for number in (1, 2)]
    for number in range(1, 7):
        cluster = "Edge" if number > 4 else "Default"
        specs = [DiskSpec(2 * MIB, bootable=True), DiskSpec(MIB, format="raw", domain="lun")][
            : 1 + number % 2
        ]
        vms.append(box.make_vm(f"vm{number}", specs, running=False, cluster=cluster, nics=2))
    for number, vm in enumerate(vms):
        box.make_tag("nightly")
        vm.tags = ["nightly", *(["gold"] if number % 2 else [])]
        box.make_tag("gold")
        for card, nic in enumerate(vm.nics):
            nic.network = nic.profile = NETWORKS[(number + card) % 3]
        for disk in box.disks(vm):
            box.fill(disk, 0, MIB // 2, seed=number)
    rich(box, vms[3], "kept")
    rich(box, vms[6], "lost")
    for vm in vms[:4]:
        box.snapshot(vm, "before")
        box.fill(box.disks(vm)[0], MIB // 2, MIB // 4, seed=77)
    return vms


RULES = """
engines: {main: {url: URL, username: USER, password_file: FILE, ca_file: CA}}
repositories: {local: {location: REPO}}
vms: {include: {tags: [nightly]}}
retention: {last: 1}
overrides:
- {vms: {tags: [gold]}, retention: {last: 5}}
- {vms: {names: [vm1, thin1]}, policy: {mode: chain}}
restore: {map: MAP, order: [vm6, "thin*"], vms_at_once: 3}
"""
MAP = """
clusters: {Default: Second, Edge: Second}
storage_domains: {data: data2, lun: lun2}
networks: {front: front2, back: back2, storage: none}
"""


def rules(desk: Desk, box: Box) -> Path:
    path, mapping = desk.root / "site.yaml", desk.root / "map.yaml"
    mapping.write_text(MAP)
    words = {"URL": box.url, "USER": box.user, "FILE": str(box.password_file), "CA": str(box.ca_file)}
    text = RULES
    for word, value in {**words, "REPO": desk.repo, "MAP": str(mapping)}.items():
        text = text.replace(word, value)
    path.write_text(text)
    return path


def second_site(box: Box) -> None:
    """What there is at the other one: less than there was."""
    beside = box.world.beside
    second = box.make_cluster("Second", (4, 7))
    box.make_domain("data2")
    box.make_domain("lun2", "block")
    for name in ("front2", "back2"):
        box.make_profile(name, name)
    for table in (box.world.tags, beside.labels, beside.quotas, beside.groups, box.engine.roles):
        for key in [key for key, one in table.items() if "lost" in one.name or one.name == "gold"]:
            del table[key]
    for group in beside.groups.values():
        group.cluster = second.id
    box.delete_disk(next(disk for disk in box.world.disks.values() if disk.alias == "iso-lost"))


def plans(told: str) -> dict[str, list[str]]:
    """The lines of each VM's plan."""
    found: dict[str, list[str]] = {}
    for line in told.splitlines():
        if line.startswith("VM "):
            found[line.split()[1]] = []
        if found:
            list(found.values())[-1].append(line)
    return found


def test_a_site_comes_back_at_another(box: Box, desk: Desk, site: list[Vm]) -> None:
    config = {"BORG_OVIRT_CONFIG": str(rules(desk, box))}
    night = desk.run("create", "--json", **config).ok(0, 1).vms  # of firmware there is a warning
    before = {vm.name: picture(box, vm) for vm in site}
    truth = {vm.name: [box.sha(disk) for disk in box.disks(vm)] for vm in site}
    for vm in site:
        vm.delete_protected = False
        gone(box, vm)
    second_site(box)
    planned = desk.run("extract", "--all", "--dry-run", desk.repo, **config).ok().out
    assert planned.index("VM vm6") < planned.index("VM thin") < planned.index("VM vm1")
    assert "8 VMs would be restored" in planned
    assert not box.world.vms
    assert "8 VMs restored" in desk.run("extract", "--all", desk.repo, **config).ok().out
    for name, plan in plans(planned).items():
        back = box.vm(name)
        assert [box.sha(disk) for disk in box.disks(back)] == truth[name], name
        assert picture(box, back) == as_planned(before[name], plan), name
    again = desk.run("create", "--json", **config).ok(0, 1).vms
    assert {name: vm["mode"] for name, vm in again.items()} == {
        name: vm["mode"] for name, vm in night.items()
    }
    desk.run("prune", desk.repo, **config).ok()
    left = {name: [a for a in desk.archives() if a.startswith(f"{name}-")] for name in before}
    gold = {vm.name for vm in site if "gold" in vm.tags}
    assert left == {
        name: [night[name]["archive"]] * (name in gold) + [again[name]["archive"]] for name in before
    }
    box.as_found()
    desk.assert_clean()
