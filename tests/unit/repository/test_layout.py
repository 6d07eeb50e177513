"""The manifest and the comment: they survive a round trip, and do not survive tampering."""

from __future__ import annotations

import json
import string
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.repository.layout import (
    ArchiveComment,
    BaseRecord,
    DiskRecord,
    DiskRunRecord,
    LayerRecord,
    Manifest,
    RunRecord,
    SampleRecord,
    SkippedDisk,
    SnapshotRecord,
    VmRecord,
    chain_path,
    comment_of,
    disk_path,
    layer_path,
    parse_comment,
    parse_manifest,
)

ids = st.uuids().map(str)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
sizes = st.integers(0, 1 << 50)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc))
maybe = st.none


@st.composite
def disk_records(draw: st.DrawFn, mode: str) -> DiskRecord:
    id_ = draw(ids)
    layers = []
    if mode == "chain":
        below = None
        for image in draw(st.lists(ids, min_size=1, max_size=4, unique=True)):
            layers.append(
                LayerRecord(
                    image_id=image,
                    snapshot_id=draw(maybe() | ids),
                    parent=below,
                    description=draw(names),
                    date=draw(maybe() | times),
                    format="cow",
                    capacity=draw(sizes),
                    size=draw(sizes),
                    path=layer_path(id_, image),
                    template=draw(st.booleans()),
                )
            )
            below = image
    return DiskRecord(
        id=id_,
        alias=draw(names),
        description=draw(names),
        size=draw(sizes),
        format=draw(st.sampled_from(["raw", "cow"])),
        sparse=draw(st.booleans()),
        interface=draw(maybe() | st.sampled_from(["virtio", "virtio_scsi", "sata"])),
        bootable=draw(st.booleans()),
        active=draw(st.booleans()),
        read_only=draw(st.booleans()),
        path=chain_path(id_) if mode == "chain" else disk_path(id_),
        layers=tuple(layers),
        run=DiskRunRecord(
            kind_asked="incremental",
            kind="full",
            reason=draw(maybe() | names),
            bytes_read=draw(sizes),
            sample=draw(maybe() | st.just(SampleRecord(asked="0.1%", cells=8, mismatches=1))),
        ),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    mode = draw(st.sampled_from(["image", "chain"]))
    return Manifest(
        mode=mode,
        vm=VmRecord(id=draw(ids), name=draw(names), tpm=draw(st.booleans())),
        disks=tuple(draw(st.lists(disk_records(mode), max_size=3, unique_by=lambda d: d.id))),
        snapshots=tuple(SnapshotRecord(id=i) for i in draw(st.lists(ids, max_size=3, unique=True))),
        run=RunRecord(
            tool_version="0.1.0",
            host=draw(names),
            engine="engine.example",
            kind=draw(st.sampled_from(["full", "incremental"])),
            way=draw(names),
            consistency_asked="auto",
            consistency="unknown",
            to_checkpoint=draw(maybe() | ids),
            base=draw(maybe() | st.just(BaseRecord(name="web-1", id="00" * 32))),
            started=draw(times),
            ended=draw(times),
        ),
        skipped=tuple(
            SkippedDisk(id=i, alias="lun", reason="direct LUN") for i in draw(st.lists(ids, max_size=2))
        ),
        warnings=tuple(draw(st.lists(names, max_size=3))),
    )


@given(manifests())
def test_a_manifest_survives_the_archive(manifest: Manifest) -> None:
    data = manifest.to_json()
    assert parse_manifest(data, "x") == manifest
    assert parse_manifest(data, "x").to_json() == data


@given(manifests())
def test_the_comment_made_again_fits_the_manifest(manifest: Manifest) -> None:
    comment = comment_of(manifest)
    assert (comment.vm_id, comment.mode, comment.checkpoint) == (
        manifest.vm.id,
        manifest.mode,
        manifest.run.to_checkpoint,
    )
    samples = [d.run.sample for d in manifest.disks if d.run and d.run.sample]
    assert comment.marked == any(s.mismatches for s in samples)
    assert not comment.held


@given(
    st.builds(
        ArchiveComment,
        vm_id=ids,
        vm_name=names,
        mode=st.sampled_from(["image", "chain"]),
        engine=names,
        checkpoint=maybe() | ids,
        kind=st.sampled_from(["full", "incremental"]),
        reason=maybe() | names,
        marked=st.booleans(),
        held=st.booleans(),
    )
)
def test_a_comment_survives_the_archive(comment: ArchiveComment) -> None:
    text = comment.to_text()
    assert parse_comment(text, "x") == comment
    assert "\n" not in text


@given(st.text(max_size=50) | st.sampled_from(["{}", "[]", "null", '{"tool": "other"}', "[" * 5000]))
def test_foreign_comments_are_not_ours(text: str) -> None:
    assert parse_comment(text, "x") is None


def test_a_layout_of_another_tool_is_none_of_ours() -> None:
    assert parse_comment('{"tool": "other", "layout": 9}', "x") is None


DISK = "aaaaaaaa-0000-4000-8000-000000000001"
BASE = "bbbbbbbb-0000-4000-8000-000000000001"
TOP = "bbbbbbbb-0000-4000-8000-000000000002"


def facts(mode: str = "image") -> dict[str, Any]:
    """A small manifest as JSON knows it."""
    disk: dict[str, Any] = {"id": DISK, "alias": "d", "size": 10, "format": "cow", "sparse": True}
    disk["path"] = f"disks/{DISK}.raw"
    if mode == "chain":
        disk["path"] = f"disks/{DISK}"
        disk["layers"] = [
            {"image_id": BASE, "snapshot_id": None, "parent": None, "format": "raw"},
            {"image_id": TOP, "snapshot_id": None, "parent": BASE, "format": "cow"},
        ]
        for layer in disk["layers"]:
            layer |= {"capacity": 10, "size": 5, "path": f"disks/{DISK}/{layer['image_id']}"}
    return {
        "tool": "borg-ovirt",
        "layout": 1,
        "mode": mode,
        "vm": {"id": DISK, "name": "vm"},
        "disks": [disk],
        "run": {
            "tool_version": "0.1.0",
            "host": "h",
            "engine": "e",
            "kind": "full",
            "way": "live backup",
            "consistency_asked": "auto",
            "consistency": "frozen",
            "started": "2026-01-01T00:00:00Z",
            "ended": "2026-01-01T01:00:00+01:00",
        },
    }


def put(manifest: dict[str, Any], place: str, value: Any) -> None:
    *way, last = place.split(".")
    at: Any = manifest
    for step in way:
        at = at[int(step)] if step.isdigit() else at[step]
    at[last] = value


def test_the_untouched_one_is_good() -> None:
    image = parse_manifest(json.dumps(facts()).encode(), "x")
    assert image.contents == {f"disks/{DISK}.raw": 10}
    assert image.run.started == image.run.ended.replace(hour=0)
    chain = parse_manifest(json.dumps(facts("chain")).encode(), "x")
    assert chain.contents == {f"disks/{DISK}/{BASE}": 5, f"disks/{DISK}/{TOP}": 5}


TAMPERED = [
    ("image", "disks.0.path", "disks/../../etc/passwd"),
    ("image", "disks.0.path", f"/disks/{DISK}.raw"),
    ("image", "disks.0.path", f"disks/{DISK}"),
    ("image", "disks.0.path", f"disks/{TOP}.raw"),
    ("image", "disks.0.size", -1),
    ("image", "disks.0.size", "10"),
    ("image", "disks.0.size", 1.5),
    ("image", "disks.0.sparse", "yes"),
    ("image", "disks.0.id", "../x"),
    ("image", "disks.0.id", DISK + "\n"),
    ("image", "disks.0.cell", 0),
    ("image", "disks.0.extra", 1),
    ("image", "extra", 1),
    ("image", "layout", 0),
    ("image", "mode", "chain"),
    ("image", "vm.id", ""),
    ("image", "run.started", "yesterday"),
    ("image", "run.started", "2026-01-01T00:00:00"),
    ("image", "disks.0.layers", facts("chain")["disks"][0]["layers"]),
    ("chain", "mode", "image"),
    ("chain", "disks.0.layers", []),
    ("chain", "disks.0.path", f"disks/{DISK}.raw"),
    ("chain", "disks.0.layers.0.path", f"disks/{DISK}/../{BASE}"),
    ("chain", "disks.0.layers.1.parent", TOP),
    ("chain", "disks.0.layers.0.parent", TOP),
    ("chain", "disks.0.layers.1.size", -5),
]


@pytest.mark.parametrize(("mode", "place", "value"), TAMPERED)
def test_tampering_shows(mode: str, place: str, value: Any) -> None:
    manifest = facts(mode)
    put(manifest, place, value)
    with pytest.raises(NotOurArchive, match=r"archive web-1 is not valid") as caught:
        parse_manifest(json.dumps(manifest).encode(), "web-1")
    assert "\n" not in str(caught.value)


def test_a_disk_twice_shows() -> None:
    manifest = facts()
    manifest["disks"] *= 2
    with pytest.raises(NotOurArchive, match="twice"):
        parse_manifest(json.dumps(manifest).encode(), "x")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b'{"tool": "other"}', b"[" * 100_000])
def test_what_is_no_manifest_of_ours(data: bytes) -> None:
    with pytest.raises(NotOurArchive, match="not written by borg-ovirt"):
        parse_manifest(data, "x")


def test_a_newer_layout_is_told_apart() -> None:
    newer = facts() | {"layout": 2, "mode": "cloud"}
    with pytest.raises(NotOurArchive, match="newer"):
        parse_manifest(json.dumps(newer).encode(), "x")
    with pytest.raises(NotOurArchive, match="newer"):
        parse_comment('{"tool": "borg-ovirt", "layout": 2, "more": 1}', "x")


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValidationError):
        SnapshotRecord(id=DISK, date=datetime(2026, 1, 1))


def test_ids_are_ascii_letters_and_digits() -> None:
    for sign in set(string.printable) - set(string.hexdigits) - {"-"}:
        with pytest.raises(ValidationError):
            VmRecord(id=DISK[:-1] + sign, name="x")


HUGE = 10**400


@pytest.mark.parametrize(
    ("mode", "place", "value"),
    [
        ("image", "run.started", "0001-01-01T00:00:00+23:00"),
        ("image", "run.ended", "9999-12-31T23:59:59-23:00"),
        ("image", "run.instant", 1e308),
        ("image", "disks.0.size", HUGE),
        ("image", "disks.0.actual_size", 1 << 63),
        ("image", "disks.0.cell", 1 << 40),
        ("image", "run.resumes", HUGE),
        ("chain", "disks.0.layers.0.capacity", HUGE),
        ("chain", "disks.0.layers.0.date", "0001-01-01T00:00:00+23:00"),
    ],
)
def test_times_and_sizes_beyond_all_bounds_are_refused(mode: str, place: str, value: Any) -> None:
    """Nothing later could count with them or show them."""
    manifest = facts(mode)
    put(manifest, place, value)
    with pytest.raises(NotOurArchive):
        parse_manifest(json.dumps(manifest).encode(), "x")


def test_a_manifest_that_is_too_long_is_not_read() -> None:
    with pytest.raises(NotOurArchive):
        parse_manifest(json.dumps(facts() | {"warnings": ["x" * (33 << 20)]}).encode(), "x")
    comment = {"tool": "borg-ovirt", "layout": 1, "vm_id": DISK, "vm_name": "x" * (2 << 20)}
    assert parse_comment(json.dumps(comment | {"mode": "image", "engine": "e", "kind": "full"}), "x") is None
