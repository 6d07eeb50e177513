"""All that REST tells of a VM, by name instead of by id; and what a plan says that it will be.

An id is told where a restore keeps it (of the VM, its disks and cards); elsewhere what has it is called by
its name, as the plan calls it. Left out is what nobody chose: links, times, and what disks take on storage.
"""

from __future__ import annotations

import base64
import re
import ssl
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from ovirtbox.box import Box
from ovirtbox.model import BLANK, Vm

Picture = dict[str, str]
_FOLLOW = "nics,tags,snapshots,permissions,disk_attachments.disk"
_BESIDE = ("cdroms", "numanodes", "affinitylabels")
_MEASURED = ("link", "actions", "creation_time", "stop_time", "date", "actual_size", "total_size", "image_id")
_ANOTHER_ID = ("permission", "vm_numa_node", "snapshot", "tag", "affinity_label")
"""They are made again; what matters is their content."""
_BY_NAME = ("nic", "tag", "affinity_label", "affinity_group")


def picture(box: Box, vm: Vm) -> Picture:
    """Path -> value of every element and attribute; in lists each is called by its name, id or place."""
    root = _get(box, f"vms/{vm.id}?all_content=true&follow={_FOLLOW}")
    for initialization in root.findall("initialization"):  # the OVF tells the same once more
        for ovf in initialization.findall("configuration"):
            initialization.remove(ovf)
    root.extend(_get(box, f"vms/{vm.id}/{name}") for name in _BESIDE)
    for group in _get(box, f"clusters/{vm.cluster}/affinitygroups"):
        members = _get(box, f"clusters/{vm.cluster}/affinitygroups/{group.get('id')}/vms")
        if any(member.get("id") == vm.id for member in members):
            ET.SubElement(ET.SubElement(root, "affinity_group"), "name").text = group.findtext("name")
    return dict(_flat(root, _names(box)))


def _get(box: Box, path: str) -> ET.Element:
    login = base64.b64encode(f"{box.user}:{box.password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Accept": "application/xml"}
    context = ssl.create_default_context(cafile=str(box.ca_file))
    request = urllib.request.Request(f"{box.url}/{path}", headers=headers)
    with urllib.request.urlopen(request, context=context) as answer:
        return ET.fromstring(answer.read())


def _names(box: Box) -> dict[str, str]:
    world, engine = box.world, box.engine
    tables = (world.clusters, world.domains, world.templates, world.beside.quotas, engine.roles)
    named = {key: one.name for table in tables for key, one in table.items()}  # type: ignore[attr-defined]
    named |= {user.id: user.name for user in engine.users.values()}
    named |= {key: f"{profile.network}/{profile.name}" for key, profile in world.profiles.items()}
    return named | {BLANK: "Blank"}


def _flat(element: ET.Element, names: dict[str, str], path: str = "") -> Iterator[tuple[str, str]]:
    if "id" in element.attrib and element.tag not in _ANOTHER_ID:
        yield f"{path}@id", names.get(element.attrib["id"], element.attrib["id"])
    if element.text and element.text.strip():
        yield path.rstrip("/"), element.text.strip()
    for place, child in enumerate(element):
        if child.tag not in _MEASURED:
            yield from _flat(child, names, f"{path}{child.tag}{_which(child, place, element)}/")


def _which(child: ET.Element, place: int, among: ET.Element) -> str:
    if child.tag in _BY_NAME:
        return f"[{child.findtext('name')}]"
    if child.tag == "disk_attachment":
        return f"[{child.get('id')}]"
    return f"[{place}]" if among.tag.endswith("s") else ""


# -- what a plan says -------------------------------------------------------------------------------------

_CLUSTER = re.compile(r"VM \S+ \(\S+\) in cluster (\S+)")
_DISK = re.compile(r"disk \S+ \((\S+)\): .*, on (\S+)")
_CARD = re.compile(r"network card (\S+): .*(?:network (\S+) \(vNIC profile (\S+)\)|no network) instead of .+")
_SNAPSHOT = re.compile(r"snapshot (.+) of \d+ disks")
_LEASE = re.compile(r"set again: lease on (\S+)")
_LOST = (
    (re.compile(r"affinity label (\S+):"), r"affinity_labels/affinity_label\[{}\]/"),
    (re.compile(r"affinity group (\S+):"), r"affinity_group\[{}\]/"),
    (re.compile(r"quota \S+:"), r"quota/"),
    (re.compile(r"quota of disk \S+ \((\S+)\):"), r"disk_attachments/disk_attachment\[{}\]/disk/quota/"),
    (re.compile(r"CD (\S+):"), r"cdroms/cdrom\[0\]/file/"),
    (re.compile(r"role (\S+) for"), r"permissions/"),
    (re.compile(r"snapshots "), r"snapshots/snapshot\[[1-9]"),
)


def as_planned(before: Picture, plan: list[str]) -> Picture:
    """The picture that a plan promises: of the VM as it was, with the differences that its lines tell."""
    after, taken = dict(before), []
    for line in plan:
        if found := _CLUSTER.fullmatch(line):
            after["cluster/@id"] = found[1]
        elif found := _DISK.fullmatch(line):
            place = f"disk_attachments/disk_attachment[{found[1]}]/disk/storage_domains"
            after[f"{place}/storage_domain[0]/@id"] = found[2]
        elif found := _CARD.fullmatch(line):
            after.pop(place := f"nics/nic[{found[1]}]/vnic_profile/@id")
            after |= {place: f"{found[2]}/{found[3]}"} if found[2] else {}
        elif found := _LEASE.fullmatch(line):
            after["lease/storage_domain/@id"] = found[1]
        elif found := _SNAPSHOT.fullmatch(line):
            taken.append(found[1])
        elif line.startswith("not restored: the VM's tie to template"):
            after["template/@id"] = after["original_template/@id"] = "Blank"
        elif line.startswith("not restored: "):
            after = _without(after, line.removeprefix("not restored: "))
    return after | _snapshots(after, taken) if taken else after


def _snapshots(vm: Picture, taken: list[str]) -> Picture:
    """As they are when they are taken anew: of the VM as it is, without memory."""
    new = {"persist_memorystate": "false", "snapshot_status": "ok", "snapshot_type": "regular"}
    new |= {"vm/@id": vm["@id"], "vm/name": vm["name"], "vm/memory": vm["memory"]}
    return {
        f"snapshots/snapshot[{place}]/{key}": value
        for place, description in enumerate(taken, 1)
        for key, value in {**new, "description": description}.items()
    }


def _without(picture: Picture, what: str) -> Picture:
    for words, place in _LOST:
        if found := words.match(what):
            gone = re.compile(place.format(*map(re.escape, found.groups())))
            return {key: value for key, value in picture.items() if not gone.match(key)}
    return picture
