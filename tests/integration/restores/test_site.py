"""A whole site is lost and comes back at a second one: other cluster, other domains, other networks."""

from __future__ import annotations

import base64
import re
import ssl
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

NETWORKS = ("front", "back", "storage")
MOVED = {
    "cluster/@id",
    "nics/nic/vnic_profile/@id",
    "disk_attachments/disk_attachment/disk/storage_domains/storage_domain/@id",
}
"""What the map moves."""
MADE_AGAIN = {"tags/tag/@id"}
INDEPENDENT = {"template/@id", "original_template/@id"}
TAKEN = re.compile(r" \(taken .* UTC\)$")


def flat(element: ET.Element, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of an answer; addresses, dates of making and the OVF itself are none of the VM's."""
    for name, value in element.attrib.items():
        if name not in ("href", "rel"):
            yield f"{path}@{name}", value
    if element.text and element.text.strip():
        yield path.rstrip("/"), element.text.strip()
    for child in element:
        if child.tag not in ("link", "actions", "creation_time", "initialization", "snapshots"):
            yield from flat(child, f"{path}{child.tag}/")


def picture(box: Box, vm: Vm) -> tuple[set[tuple[str, str]], list[str]]:
    """All that REST tells of a VM, its disks, cards and tags; and its snapshots' descriptions."""
    login = base64.b64encode(f"{box.user}:{box.password}".encode()).decode()
    follow = "nics,tags,snapshots,disk_attachments.disk"
    request = urllib.request.Request(
        f"{box.url}/vms/{vm.id}?all_content=true&follow={follow}",
        headers={"Authorization": f"Basic {login}", "Accept": "application/xml"},
    )
    context = ssl.create_default_context(cafile=str(box.ca_file))
    with urllib.request.urlopen(request, context=context) as answer:
        root = ET.fromstring(answer.read())
    snapshots = [found.findtext("description") or "" for found in root.iterfind("snapshots/snapshot")]
    return {(key, value) for key, value in flat(root) if "image_id" not in key}, snapshots


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


def test_a_site_comes_back_at_another(box: Box, desk: Desk, site: list[Vm]) -> None:
    config = {"BORG_OVIRT_CONFIG": str(rules(desk, box))}
    for vm in site:
        chain = ("--mode", "chain", "--no-snapshot") if vm.name in ("vm1", "thin1") else ()
        desk.create(vm, *chain)
    before = {vm.name: picture(box, vm) for vm in site}
    truth = {vm.name: [box.sha(disk) for disk in box.disks(vm)] for vm in site}
    for vm in site:
        box.remove_vm(vm)
    for tag in [tag for tag in box.world.tags.values() if tag.name == "gold"]:
        del box.world.tags[tag.id]
    box.make_cluster("Second", (4, 7))
    box.make_domain("data2")
    box.make_domain("lun2", "block")
    for name in ("front2", "back2"):
        box.make_profile(name, name)
    planned = desk.run("extract", "--all", "--dry-run", desk.repo, **config).ok().out
    assert planned.index("VM vm6") < planned.index("VM thin") < planned.index("VM vm1")
    assert "8 VMs would be restored" in planned
    assert not box.world.vms
    done = desk.run("extract", "--all", desk.repo, **config).ok()
    assert "8 VMs restored" in done.out
    for vm in site:
        back = box.vm(vm.name)
        assert [box.sha(disk) for disk in box.disks(back)] == truth[vm.name], vm.name
        (now, snapshots), (then, old) = picture(box, back), before[vm.name]
        changed = {key for key, _ in now ^ then} - MOVED
        expected = DISKS | MADE_AGAIN | (INDEPENDENT if vm.name.startswith("thin") else set())
        assert changed <= expected, vm.name
        kept = [TAKEN.sub("", text) for text in snapshots if "image of the template" not in text]
        assert kept == (old if vm.name in ("vm1", "thin1") else ["Active VM"]), vm.name
        assert box.world.clusters[back.cluster].name == "Second"
        assert {nic.network for nic in back.nics} <= {"front2", "back2", ""}
    for what in ("not restored: the VM's tie to template golden", "no network instead of storage"):
        assert what in planned
    desk_again = desk.run("extract", "--all", desk.repo, **config).ok()
    assert "8 skipped" in desk_again.out
    nights = desk.run("create", "--json", **config).ok(0).vms
    assert set(nights) == {vm.name for vm in site}
    desk.run("prune", desk.repo, **config).ok()
    kept_by = {name: sum(a.startswith(f"{name}-") for a in desk.archives()) for name in before}
    gold = {vm.name for number, vm in enumerate(site) if number % 2}
    chains = {"vm1", "thin1"}
    assert {name for name, count in kept_by.items() if count == 2} >= gold
    assert {name for name, count in kept_by.items() if count == 1} == set(before) - gold - chains
    box.as_found()
    desk.assert_clean()


DISKS = {
    "disk_attachments/disk_attachment/disk/actual_size",
    "disk_attachments/disk_attachment/disk/total_size",
}
"""What a disk takes on its storage depends on the storage."""
