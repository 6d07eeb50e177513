"""README.txt names what is in the archive, and a hostile name stays a name."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone
from typing import Any

from borg_ovirt.repository.layout import (
    DiskRecord,
    LayerRecord,
    Manifest,
    RunRecord,
    SkippedDisk,
    VmRecord,
    chain_path,
    disk_path,
    layer_path,
)
from borg_ovirt.repository.readme import readme

DISK = "aaaaaaaa-0000-4000-8000-000000000001"
BASE = "bbbbbbbb-0000-4000-8000-000000000001"
TOP = "bbbbbbbb-0000-4000-8000-000000000002"
NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def manifest(mode: str, **disk: Any) -> Manifest:
    layers = tuple(
        LayerRecord(
            image_id=image,
            snapshot_id=None,
            parent=parent,
            format="cow",
            capacity=10,
            size=10,
            path=layer_path(DISK, image),
        )
        for image, parent in ((BASE, None), (TOP, BASE))
    )
    record = DiskRecord(
        id=DISK,
        size=10,
        format="cow",
        sparse=True,
        path=chain_path(DISK) if mode == "chain" else disk_path(DISK),
        layers=layers if mode == "chain" else (),
        **({"alias": "system"} | disk),
    )
    run = RunRecord(
        tool_version="0.1.0",
        host="h",
        engine="engine.example",
        kind="full",
        way="w",
        consistency_asked="auto",
        consistency="frozen",
        started=NOON,
        ended=NOON,
    )
    skipped = (SkippedDisk(id=BASE, alias="raw lun", reason="direct LUN"),)
    return Manifest(mode=mode, vm=VmRecord(id=DISK, name="web 01"), disks=(record,), run=run, skipped=skipped)


def test_image_mode() -> None:
    text = readme(manifest("image"), "web-1")
    assert "borg extract --sparse REPO::web-1" in text
    assert disk_path(DISK) in text
    assert "raw lun (direct LUN)" in text
    assert "{" not in text


def test_chain_mode_opens_the_top_layer() -> None:
    text = readme(manifest("chain"), "web-1")
    assert f"qemu-img convert -O qcow2 {layer_path(DISK, TOP)} {DISK}.qcow2" in text
    assert "{" not in text


def test_an_archive_without_disks() -> None:
    empty = manifest("image").model_copy(update={"disks": ()})
    assert "borg extract" in readme(empty, "web-1")


def test_names_stay_names() -> None:
    hostile = "x' --insecure; rm -rf /\n\x1b[2J {id}"
    text = readme(manifest("image", alias=hostile, storage_domain=hostile), "web-1")
    assert "\x1b" not in text
    (command,) = (part for part in text.replace("\\\n", " ").splitlines() if "ovirt-img" in part)
    words = shlex.split(command)
    assert "--insecure" not in words
    assert words[words.index("--name") + 1] == hostile.replace("\n", " ").replace("\x1b", " ")
