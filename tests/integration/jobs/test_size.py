"""Size alone costs little: bytes and memory of a backup follow the data, not the virtual size of the disk."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import costs
import pytest
from harness import Desk
from ovirtbox.box import Box, DiskSpec

MIB = 1 << 20
GIB = 1 << 30
CELL = 4 * MIB
SAMPLE = 8 * CELL
"""A thousandth of what would be reused, but at least eight cells."""


def create(desk: Desk, name: str) -> tuple[dict[str, Any], int]:
    """A backup as a process of its own: its one disk's outcome, and its peak memory in bytes."""
    words = desk.command("create", "--json", "--backup-api", "live", f"{desk.repo}::{name}")
    out, cost = desk.root / "out.json", desk.root / "cost.json"
    with open(out, "wb") as output:
        subprocess.run(costs.measured(words, cost), env=desk.env, stdout=output, check=True)
    status, *_, peak = costs.read(cost)
    assert status == 0
    (disk,) = json.loads(out.read_text())["vms"][0]["disks"]
    return disk, peak


def write_data(path: Path, size: int, places: range, length: int) -> None:
    """Straight into the image of a VM that is down: the same bytes at each place, not zeros."""
    raw = path.with_suffix(".src")
    piece = os.urandom(MIB) * (length // MIB)
    with open(raw, "wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(piece)
    words = ["qemu-img", "convert", "-n", "--target-is-zero", "-f", "raw", "-O", "qcow2"]
    subprocess.run([*words, raw, path], check=True)
    raw.unlink()


@pytest.mark.soak
def test_64_gib_with_1_gib_of_data(box: Box, desk: Desk) -> None:
    box.engine.data.truth.switch_off()
    vm = box.make_vm("large", [DiskSpec(64 * GIB, backup="none")], running=False)
    write_data(box.disks(vm)[0].active.path, 64 * GIB, range(0, 64 * GIB, GIB), 16 * MIB)

    disk, memory = create(desk, "large")

    assert disk["stats"]["bytes_read"] == GIB
    assert disk["stats"]["bytes_zero"] == 63 * GIB
    assert memory < 250 * MIB


def test_1_tib_with_64_mib_changed(box: Box, desk: Desk) -> None:
    box.engine.data.truth.switch_off()
    vm = box.make_vm("huge", [DiskSpec(1024 * GIB)], running=False)
    disk = box.disks(vm)[0]
    write_data(disk.active.path, 1024 * GIB, range(0, 1024 * GIB, 16 * GIB), 4 * MIB)
    first, _ = create(desk, "huge")
    assert first["kind"] == "full"

    # Each write straddles the edge of two cells.
    places = range(3 * GIB - MIB, 1024 * GIB, 32 * GIB)
    box.engine.data.guest_writes(disk, [(place, os.urandom(2 * MIB)) for place in places])
    second, memory = create(desk, "huge")

    assert second["kind"] == "incremental"
    assert 64 * MIB <= second["stats"]["bytes_read"] <= len(places) * 2 * CELL + SAMPLE
    assert second["stats"]["bytes_new"] == len(places) * 2 * CELL
    assert memory < 400 * MIB
