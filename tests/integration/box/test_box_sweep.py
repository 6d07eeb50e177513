"""What a failed test leaves in a box does not reach the next one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import ovirtsdk4 as sdk
from box_client import Client
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.sweep import sweep

TREE = Path(__file__).parents[3]
FAILING = """
from box_client import Client
from ovirtbox.box import MIB, DiskSpec

def test_that_leaves_a_transfer(box, connection):
    vm = box.make_vm("web01", [DiskSpec(MIB)], running=False)
    Client(box, connection).transfer(box.disks(vm)[0])
    raise AssertionError("on purpose")

def test_that_wants_a_clean_engine(box):
    assert box.clean(timeout=0) == []
"""


def test_a_transfer_of_a_backup_and_a_snapshot_are_ended(box: Box, connection: sdk.Connection) -> None:
    client = Client(box, connection)
    vm = box.make_vm("web01", [DiskSpec(MIB)])
    other = box.make_vm("db01", [DiskSpec(MIB)], running=False)
    backup = client.start_backup(vm, box.disks(vm))
    client.transfer(box.disks(vm)[0], backup=sdk.types.Backup(id=backup.id))
    snapshots = client.system.vms_service().vm_service(other.id).snapshots_service()
    snapshots.add(sdk.types.Snapshot(description="left", persist_memorystate=False))
    box.wait(lambda: all(s.status == "ok" for s in other.snapshots), "the snapshot")
    assert len(box.clean(timeout=0)) >= 3
    assert sweep(box) == []
    assert box.clean(timeout=0) == []


def test_the_neighbour_of_a_failed_test_passes(tmp_path: Path) -> None:
    for name in ("conftest.py", "box_client.py", "rest_client.py"):
        shutil.copy(Path(__file__).with_name(name), tmp_path)
    (tmp_path / "test_two.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-c", str(TREE / "setup.cfg"), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-p", "conftest", str(tmp_path / "test_two.py")],
        cwd=TREE / "tests",
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{TREE}:{TREE / 'tests'}"},
        timeout=240,
    )
    assert done.stdout.startswith("F. "), done.stdout + done.stderr
