"""The OVF: read as the engine writes it, rewritten so that the engine reads it again."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
from ovirtbox.ovf_reader import read

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.ovirt.facts.ovf import parse, rewrite

SAMPLE = (Path(__file__).parent / "sample.ovf").read_bytes()
VM = "c0c0c0c0-0000-4000-8000-000000000001"
DISK_1 = "d1d1d1d1-0000-4000-8000-000000000001"
DISK_2 = "d2d2d2d2-0000-4000-8000-000000000002"
A1 = "a1a1a1a1-0000-4000-8000-000000000001"
A2 = "a2a2a2a2-0000-4000-8000-000000000002"
A3 = "a3a3a3a3-0000-4000-8000-000000000003"
B1 = "b1b1b1b1-0000-4000-8000-000000000001"
NEW = {old: old[:9] + "9999" + old[13:] for old in (VM, DISK_1, DISK_2, A1, A2, A3, B1)}


def test_layers_come_with_the_parents_of_the_items() -> None:
    layers = {layer.image_id: layer for layer in parse(SAMPLE).layers}
    assert [(i, layer.disk_id, layer.parent) for i, layer in layers.items()] == [
        (A3, DISK_1, A2),
        (A2, DISK_1, A1),
        (A1, DISK_1, None),
        (B1, DISK_2, None),
    ]
    assert layers[A1].snapshot_id == "51515151-0000-4000-8000-000000000001"
    assert (layers[A1].format, layers[B1].format) == ("cow", "raw")
    assert layers[A3].alias == "web01_Disk1"
    assert parse(SAMPLE).disk_ids == (DISK_1, DISK_2)


def test_the_vm_its_snapshots_and_nics() -> None:
    view = parse(SAMPLE)
    assert (view.vm_id, view.name) == (VM, "web01")
    assert [(s.type, s.description) for s in view.snapshots] == [
        ("REGULAR", "before upgrade"),
        ("REGULAR", "after upgrade"),
        ("ACTIVE", "Active VM"),
    ]
    assert view.snapshots[1].configuration == b"<!-- base64 of an OVF -->"
    assert view.snapshots[2].configuration is None
    (nic,) = view.nics
    assert (nic.name, nic.network, nic.mac) == ("nic1", "ovirtmgmt", "56:6f:00:00:00:01")


def test_new_ids_stand_everywhere_and_old_ones_nowhere() -> None:
    written = rewrite(SAMPLE, ids=NEW)
    for old, new in NEW.items():
        assert old.encode() not in written
        assert written.count(new.encode()) == SAMPLE.count(old.encode())
    before, after = read(SAMPLE.decode()), read(written.decode())
    assert after.id == NEW[VM]
    assert [disk.id for disk in after.disks] == [NEW[DISK_1], NEW[DISK_2]]
    assert [disk.layers for disk in after.disks] == [[NEW[A3], NEW[A2], NEW[A1]], [NEW[B1]]]
    disks = [replace(d, id=o.id, layers=o.layers) for d, o in zip(after.disks, before.disks, strict=True)]
    assert replace(after, id=before.id, disks=disks) == before


def test_parents_and_references_follow() -> None:
    layers = parse(rewrite(SAMPLE, ids=NEW)).layers
    assert [layer.parent for layer in layers] == [NEW[A2], NEW[A1], None, None]


def test_stored_configurations_follow() -> None:
    inner = base64.b64encode(SAMPLE)
    outer = re.sub(rb"(<VmConfiguration>)[^<]*", rb"\g<1>" + inner, SAMPLE)
    for snapshot in parse(rewrite(outer, NEW)).snapshots[:2]:
        assert snapshot.configuration is not None
        stored = read(snapshot.configuration.decode())
        assert (stored.id, [d.id for d in stored.disks]) == (NEW[VM], [NEW[DISK_1], NEW[DISK_2]])


def test_without_a_wish_nothing_changes() -> None:
    written = rewrite(SAMPLE, ids={})
    assert read(written.decode()) == read(SAMPLE.decode())
    assert parse(written) == parse(SAMPLE)


def test_namespaces_and_their_prefixes_stay() -> None:
    written = rewrite(SAMPLE, ids=NEW, name="x").decode()
    assert re.match(r"""<\?xml version=['"]1.0['"] encoding=['"]UTF-8['"]\?>\s*<ovf:Envelope """, written)
    for prefix in ("ovf", "rasd", "vssd", "xsi"):
        assert f"xmlns:{prefix}=" in written
    assert "ns0" not in written
    for tag in ("<References>", "<File ovf:href=", "<Content ovf:id=", "<rasd:HostResource>", "<Item>"):
        assert tag in written
    assert 'xsi:type="ovf:DiskSection_Type"' in written
    tags = re.findall(r"<[A-Za-z_:]+", SAMPLE.decode())
    assert re.findall(r"<[A-Za-z_:]+", written) == tags


def test_the_name_is_set() -> None:
    written = rewrite(SAMPLE, ids={}, name="web01 & <copy>")
    assert read(written.decode()).name == "web01 & <copy>"
    assert b"web01_Disk1" in written


def test_what_is_protected_from_deletion_can_be_removed_while_it_is_restored() -> None:
    protected = SAMPLE.replace(b"<DeleteProtected>false<", b"<DeleteProtected>true<")
    assert parse(protected).delete_protected
    assert not parse(rewrite(protected, ids={})).delete_protected


def test_fresh_nics_have_other_ids_and_no_address() -> None:
    (old,) = read(SAMPLE.decode()).nics
    (new,) = read(rewrite(SAMPLE, ids={}, fresh=True).decode()).nics
    assert new.id != old.id
    assert new.mac == ""  # absent reads as empty: the one kind of address that clashes with nobody's
    assert (new.name, new.network) == (old.name, old.network)
    assert b"56:6f" not in rewrite(SAMPLE, ids={}, fresh=True)


@pytest.mark.parametrize(("keep", "left"), [([DISK_2], [B1]), ([DISK_1], [A3, A2, A1]), ([], [])])
def test_disks_that_are_not_restored_vanish_whole(keep: list[str], left: list[str]) -> None:
    written = rewrite(SAMPLE, ids=NEW, keep_disks=keep)
    assert [layer.image_id for layer in parse(written).layers] == [NEW[image] for image in left]
    vm = read(written.decode())
    assert [disk.id for disk in vm.disks] == [NEW[disk] for disk in keep]
    assert rewrite(SAMPLE, ids=NEW, keep_disks=[NEW[disk] for disk in keep]) == written
    for gone in {DISK_1, DISK_2} - set(keep):
        assert NEW[gone].encode() not in written


def test_what_users_wrote_is_left_alone() -> None:
    ovf = SAMPLE.replace(b"<Description>demo</Description>", f"<Description>was {VM}</Description>".encode())
    assert read(rewrite(ovf, ids=NEW).decode()).description == f"was {VM}"


def test_text_beyond_ascii_survives() -> None:
    ovf = SAMPLE.replace(
        b"before upgrade", "vor dem Umzug \u2013 \u00e4\u00f6\u00fc & mehr".replace("&", "&amp;").encode()
    )
    assert (
        parse(rewrite(ovf, ids={})).snapshots[0].description
        == "vor dem Umzug \u2013 \u00e4\u00f6\u00fc & mehr"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<a/>",
        b"not xml",
        b'<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1/"/>',
        b'<!DOCTYPE x [<!ENTITY e "boom">]>' + SAMPLE.split(b"?>", 1)[1],
    ],
)
def test_other_texts_are_refused(text: bytes) -> None:
    with pytest.raises(NotOurArchive):
        parse(text)


def test_a_broken_configuration_of_a_snapshot_counts_as_none() -> None:
    good = base64.b64encode(b"<!-- base64 of an OVF -->")
    assert parse(SAMPLE.replace(good, b"%%%")).snapshots[0].configuration is None
