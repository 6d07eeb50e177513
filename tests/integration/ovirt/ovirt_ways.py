"""The ways to one instant of a VM, each with a VM of its own, and the requests that each of them makes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ovirt_bed import MiB, digests, opened_chain, opened_image
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.facts.vm import find_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal

WAYS: dict[str, tuple[str, bool, str, dict[str, Any]]] = {
    "hybrid": ("Default", True, "image", {}),
    "live": ("level46", True, "image", {}),
    "cold": ("level46", False, "image", {}),
    "snapshot": ("old", True, "image", {}),
    "raw": ("old", False, "image", {}),
    "chain": ("Default", True, "chain", {}),
    "chain-down": ("Default", False, "chain", {}),
    "chain-raw": ("Default", False, "chain", {"snapshot": False}),
}
"""Cluster, running, mode and options: every implementation of a capture keeps the same promises."""
SPECS = (DiskSpec(4 * MiB, bootable=True), DiskSpec(3 * MiB, format="raw"), DiskSpec(2 * MiB, active=False))


def make_vms(box: Box) -> dict[str, Vm]:
    """A VM for each way, named like it."""
    made = {}
    box.make_cluster("old", (4, 4))
    box.make_cluster("level46", (4, 6))
    for way, (cluster, running, *_) in WAYS.items():
        # A hybrid backup locks every disk of the VM: with one that is not plugged in another way is taken.
        specs = SPECS[:2] if way == "hybrid" else SPECS
        vm = box.make_vm(way, specs, running=running, cluster=cluster)
        for disk in box.disks(vm):
            box.fill(disk, 0, MiB, seed=1)
        made[way] = vm
    return made


def begin(
    engine: Engine, journal: Journal, way: str, facts: VmFacts | None = None
) -> AbstractContextManager[Capture]:
    """The capture of the VM for this way, or of another in the same way; everything open."""
    _, _, mode, options = WAYS[way]
    facts = facts or find_vm(engine, way)
    opened = opened_chain if mode == "chain" else opened_image
    return opened(engine, facts, facts.disks, journal=journal, **options)


def go(engine: Engine, journal: Journal, way: str, body: object = None) -> None:
    """One capture of the VM for this way; `body` is called with it in the middle."""
    with begin(engine, journal, way) as captured:
        digests(captured)
        if callable(body):
            body(captured)
        captured.finish()
    assert captured.wait_merge() == []


STEPS = [
    ("POST", "/vms/*/backups", 1),
    ("GET", "/vms/*/backups/*", 1),
    ("GET", "/vms/*/backups/*", 2),
    ("GET", "/vms/*/backups/*/disks", 1),
    ("POST", "/vms/*/backups/*/finalize", 1),
    ("POST", "/vms/*/snapshots", 1),
    ("GET", "/vms/*/snapshots/*", 1),
    ("GET", "/vms/*/snapshots/*/disks", 1),
    ("DELETE", "/vms/*/snapshots/*", 1),
    ("POST", "/imagetransfers", 1),
    ("POST", "/imagetransfers", 3),
    ("GET", "/imagetransfers/*", 1),
    ("GET", "/imagetransfers/*", 3),
    ("POST", "/imagetransfers/*/finalize", 1),
    ("POST", "/imagetransfers/*/finalize", 3),
]
USED = {
    "hybrid": {"backups", "imagetransfers"},
    "live": {"backups", "imagetransfers"},
    "cold": {"backups", "imagetransfers"},
    "snapshot": {"snapshots", "imagetransfers"},
    "raw": {"imagetransfers"},
    "chain": {"snapshots", "imagetransfers"},
    "chain-down": {"snapshots", "imagetransfers"},
    "chain-raw": {"imagetransfers"},
}


def steps(*methods: str) -> list[tuple[str, str, str, int]]:
    """Way, method, path, and which of the requests of that kind; of these methods, or of all."""
    return [
        (way, method, path, nth)
        for way, used in USED.items()
        for method, path, nth in STEPS
        if any(f"/{name}" in path for name in used)
        and (not methods or method in methods)
        and nth <= (2 if way == "hybrid" and "imagetransfers" in path else nth)
    ]
