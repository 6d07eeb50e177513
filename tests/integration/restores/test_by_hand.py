"""README.txt of an archive, followed to the letter: with stock tools alone the VM is back."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

TOOLS = str(Path(sys.executable).parent)


def follow(desk: Desk, box: Box, archive: str, place: Path) -> None:
    """Run every command of the page but those that need programs which are not here."""
    text = desk.borg("extract", "--stdout", f"{desk.repo}::{archive}", "README.txt")
    told = re.findall(r"^ {5}(?!#)(\S(?:.*\\\n)*.*)$", text, re.MULTILINE)
    commands = [command for command in told if not command.startswith("guestfish")]
    assert {command.split()[0] for command in commands} == {
        "borg",
        "qemu-img",
        "ovirt-img",
        "python3",
        "curl",
    }
    places = {
        "REPO::": f"{desk.repo}::",
        "https://ENGINE/ovirt-engine/api/vms": f"{box.url}/vms",
        "https://ENGINE": box.url.removesuffix("/ovirt-engine/api"),
        "PASSWORD_FILE": str(box.password_file),
        "CA_FILE": str(box.ca_file),
        "--user admin@ovirt@internalsso": f"--fail --silent --user '{box.user}:{box.password}'",
        "admin@ovirt@internalsso": box.user,
    }
    environment = {**desk.env, "PATH": f"{TOOLS}:{desk.env['PATH']}"}
    for command in commands:
        for theirs, ours in places.items():
            command = command.replace(theirs, ours)
        done = subprocess.run(
            ["bash", "-c", command], cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def vm(box: Box) -> Vm:
    specs = [
        DiskSpec(2 * MIB, bootable=True, alias="it's root"),
        DiskSpec(MIB, format="raw", alias="plain"),
        DiskSpec(MIB, format="raw", alias="on block", domain="lun"),
    ]
    vm = box.make_vm("by-hand", specs, running=False, tags=("nightly",), description='<a "b" & c>')
    for seed, disk in enumerate(box.disks(vm)):
        box.fill(disk, 0, MIB // 2, seed=seed)
    return vm


@pytest.mark.thin(1)
@pytest.mark.parametrize("mode", ["image", "chain"])
def test_the_vm_is_back(box: Box, desk: Desk, vm: Vm, tmp_path: Path, mode: str) -> None:
    if mode == "chain":
        box.snapshot(vm, "before")
    archive = desk.create(vm, "--mode", mode)["archive"]
    disks = box.disks(vm)
    truth = [(d.alias, box.sha(d), d.id, d.virtual_size) for d in disks]
    forms = [(d.format, d.backup, d.sparse, d.domain) for d in disks]
    box.remove_vm(vm)
    place = tmp_path / "out"
    place.mkdir()
    follow(desk, box, archive, place)
    back = box.vm("by-hand")
    made = box.disks(back)
    assert [(d.alias, box.sha(d), d.id, d.virtual_size) for d in made] == truth
    if mode == "image":
        assert [(d.format, d.backup, d.sparse, d.domain) for d in made] == forms
    assert (back.id, back.description) == (vm.id, vm.description)
    box.as_found()
    box.remove_vm(back)
