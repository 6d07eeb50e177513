"""Reading and rewriting the engine's OVF."""

from __future__ import annotations

import base64
import re
import uuid
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.ovirt.facts.ovf import parse, rewrite

OVF = (Path(__file__).parent / "sample.ovf").read_bytes()
VM = "c0c0c0c0-0000-4000-8000-000000000001"
D1, D2 = "d1d1d1d1-0000-4000-8000-000000000001", "d2d2d2d2-0000-4000-8000-000000000002"
A1, A2, A3 = (f"a{n}a{n}a{n}a{n}-0000-4000-8000-00000000000{n}" for n in (1, 2, 3))
B1 = "b1b1b1b1-0000-4000-8000-000000000001"
S1, S2 = "51515151-0000-4000-8000-000000000001", "52525252-0000-4000-8000-000000000002"
ACTIVE = "5f5f5f5f-0000-4000-8000-00000000000f"
NIC = "e1e1e1e1-0000-4000-8000-000000000001"
OURS = [VM, D1, D2, A1, A2, A3, B1, S1, S2, ACTIVE, NIC]


def test_the_chain_is_read_from_the_items_and_not_from_parent_ref() -> None:
    facts = parse(OVF)
    assert (facts.vm_id, facts.name) == (VM, "web01")
    assert facts.disk_ids == (D1, D2)
    assert {(layer.image_id, layer.parent) for layer in facts.layers} == {
        (A3, A2),
        (A2, A1),
        (A1, None),
        (B1, None),
    }
    assert {layer.image_id: layer.format for layer in facts.layers} == {
        A3: "cow",
        A2: "cow",
        A1: "cow",
        B1: "raw",
    }
    assert [(s.id, s.type, s.description) for s in facts.snapshots] == [
        (S1, "REGULAR", "before upgrade"),
        (S2, "REGULAR", "after upgrade"),
        (ACTIVE, "ACTIVE", "Active VM"),
    ]
    assert [(n.id, n.network, n.mac) for n in facts.nics] == [(NIC, "ovirtmgmt", "56:6f:00:00:00:01")]


def test_no_id_of_the_original_is_left_beside_it() -> None:
    ids = {old: str(uuid.uuid4()) for old in (VM, D1, D2, A3, B1)}
    new = rewrite(OVF, ids, name="web01 copy", fresh=True)
    text = new.decode()
    assert [old for old in OURS if old in text] == []
    assert "56:6f:00:00:00:01" not in text
    facts = parse(new)
    assert facts.vm_id == ids[VM]
    assert facts.name == "web01 copy"
    assert facts.disk_ids == (ids[D1], ids[D2])
    by_image = {layer.image_id: layer for layer in facts.layers}
    top = by_image[ids[A3]]
    base = by_image[by_image[str(top.parent)].parent or ""]
    assert base.parent is None
    assert {s.id for s in facts.snapshots} == {layer.snapshot_id for layer in facts.layers}


def test_the_shape_that_the_engine_insists_on_is_kept() -> None:
    new = rewrite(OVF, {VM: str(uuid.uuid4())}, fresh=True)
    assert new.startswith(b'<?xml version="1.0" encoding="UTF-8"?><ovf:Envelope ')
    for needed in ("xmlns:ovf=", "xmlns:rasd=", "xmlns:xsi=", 'xsi:type="ovf:VirtualHardwareSection_Type"'):
        assert needed in new.decode()
    root = ElementTree.fromstring(new)
    sizes = {disk.get("{http://schemas.dmtf.org/ovf/envelope/1/}size") for disk in root.iter("Disk")}
    assert sizes == {"6", "2"}


def test_as_the_original_only_the_name_changes() -> None:
    new = rewrite(OVF, {}, name="web02")
    assert new.decode().count("web02") == 1
    assert parse(new).nics == parse(OVF).nics
    assert parse(new).layers == parse(OVF).layers


def test_disks_that_were_not_restored_are_left_out() -> None:
    fresh = str(uuid.uuid4())
    for keep in ([D2], [fresh]):
        new = rewrite(OVF, {D2: fresh}, keep_disks=keep)
        assert parse(new).disk_ids == (fresh,)
        assert D1 not in new.decode()
        assert new.decode().count("<Disk ") == new.decode().count("<File ") == 1


def test_what_people_wrote_is_left_alone() -> None:
    told = OVF.replace(b"<Description>demo</Description>", f"<Description>was {VM}</Description>".encode())
    new = rewrite(told, {VM: str(uuid.uuid4())})
    assert f"was {VM}" in new.decode()
    assert parse(new).vm_id != VM


def test_configurations_inside_snapshots_are_rewritten_too() -> None:
    inner = base64.b64encode(OVF).decode()
    nested = re.sub(b"PCEtLSBiYXNlNjQgb2YgYW4gT1ZGIC0tPg==", inner.encode(), OVF)
    ids = {old: str(uuid.uuid4()) for old in OURS}
    new = rewrite(nested, ids)
    stored = ElementTree.fromstring(new).find(".//VmConfiguration")
    assert stored is not None
    facts = parse(base64.b64decode(stored.text or ""))
    assert facts.vm_id == ids[VM]
    assert set(facts.disk_ids) == {ids[D1], ids[D2]}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"<",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        OVF.replace(b"OperatingSystemSection", b"Other"),
    ],
)
def test_anything_else_is_refused_in_one_line(bad: bytes) -> None:
    with pytest.raises(NotOurArchive, match="OVF"):
        parse(bad)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(noise: bytes) -> None:
    with pytest.raises(NotOurArchive):
        parse(noise)


@given(st.integers(0, len(OVF) - 1), st.binary(min_size=1, max_size=8))
def test_damage_is_refused_or_read(at: int, noise: bytes) -> None:
    damaged = OVF[:at] + noise + OVF[at + len(noise) :]
    try:
        parse(damaged)
    except NotOurArchive:
        return


@given(st.permutations(OURS), st.sets(st.sampled_from(OURS)))
def test_rewriting_there_and_back_is_the_identity(order: list[str], some: set[str]) -> None:
    ids = {old: str(uuid.UUID(int=n + 1)) for n, old in enumerate(order) if old in some}
    there = rewrite(OVF, ids)
    back = rewrite(there, {new: old for old, new in ids.items()})
    assert back == rewrite(OVF, {})
    assert all(old not in there.decode() for old in ids)
