"""What the tests of several repositories share: VMs, desks, and what is true of equal archives."""

from __future__ import annotations

import copy
from typing import Any

from harness import Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

MIB = 1 << 20


def make(box: Box, name: str, *, data: int = 10 * MIB) -> Vm:
    vm = box.make_vm(name, [DiskSpec(32 * MIB, bootable=True), DiskSpec(16 * MIB + 512)], running=True)
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, 4096 * number, data, seed=number)
    return vm


def beside(desk: Desk, repo: str) -> Desk:
    """The same desk with another repository."""
    other = copy.copy(desk)
    other.repo = repo
    return other


def second(desk: Desk, name: str, mode: str = "repokey-blake2", *, served: bool = False) -> Desk:
    """The same with a fresh one."""
    path = desk.root / name
    desk.borg("init", "-e", mode, str(path))
    return beside(desk, f"ssh://backup.example{path}" if served else str(path))


def together(vm: Vm, desks: list[Desk], *options: str, code: int = 0) -> dict[str, Any]:
    words = [f"{desk.repo}::{vm.name}" for desk in desks]
    return desks[0].run("create", "--json", *options, *words).ok(code).vm


def bytes_read(made: dict[str, Any]) -> int:
    return sum(disk["stats"]["bytes_read"] for disk in made["disks"])


def assert_equal(made: dict[str, Any], desks: list[Desk], vm: Vm) -> None:
    for desk in desks:
        assert desk.archives()[-1] == made["archive"]
        desk.assert_archived(made["archive"], vm)
        desk.borg("check", "--verify-data", desk.repo)
