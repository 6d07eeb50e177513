"""A night of sixty VMs over two repositories, with a kill and a held lock in it, ends as it should."""

from __future__ import annotations

import copy
import json
import subprocess
from typing import Any

import pytest
from harness import BIN, Desk
from operating import assert_extracts, configure
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

FLEET = 60
SIZE = 4 * MIB


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    """One of ten is up."""
    found = {}
    for number in range(FLEET):
        vm = found[f"vm{number:02}"] = box.make_vm(
            f"vm{number:02}", [DiskSpec(SIZE)], running=number % 10 == 0
        )
        box.fill(box.disks(vm)[0], 0, MIB, seed=number)
    return found


def start(desk: Desk) -> subprocess.Popen[str]:
    command = desk.command("create", "--json", "--no-progress")
    return subprocess.Popen(command, env=desk.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Its lines up to the one with the word."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"no {word!r}: {lines}")


@pytest.mark.soak
def test_a_night_of_sixty(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    other = copy.copy(desk)
    other.repo = str(desk.root / "other")
    desk.borg("init", "-e", "repokey", other.repo)
    both = {"local": {"location": desk.repo}, "offsite": {"location": other.repo}}
    configure(desk, repositories=both)

    killed = start(desk)
    lines = read_until(killed, f"VM 20 of {FLEET}: ")
    assert [line.split(": ")[0] for line in lines] == [f"VM {n} of {FLEET}" for n in range(1, 21)]
    killed.kill()
    killed.communicate()

    # The next run finds the lock of one of them held, says by whom, and waits.
    held = subprocess.Popen(
        [BIN / "borg", "with-lock", "--lock-wait", "60", other.repo, "sh", "-c", "echo held; read line"],
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    before, begun = names(desk), len(box.world.backups)
    night = start(desk)
    assert f"process {held.pid} (borg with-lock), for " in read_until(night, "is used by")[-1]
    assert night.poll() is None
    assert len(box.world.backups) == begun, "nothing is begun before all are open"
    held.communicate("\n")
    out, err = night.communicate(timeout=600)
    assert night.returncode == 0, err
    result: dict[str, Any] = json.loads(out)
    assert {vm["status"] for vm in result["vms"]} == {"ok"}
    needy = [vm["vm"] for vm in result["vms"] if vm["vm"] not in before]
    assert [vm["vm"] for vm in result["vms"]][: len(needy)] == needy, "who had no archive yet went first"
    assert FLEET - 20 - 4 <= len(needy) <= FLEET - 20 + 4
    kinds = {vm["vm"]: vm["kind"] for vm in result["vms"]}
    assert {kinds[name] for name in kinds if name not in needy} == {"incremental"}
    desk.a_day_later()  # what the killed run asked for in its last moment is under way no more
    desk.assert_clean()

    for place in (desk, other):
        assert set(names(place)) == set(vms)
        assert len(before) + FLEET - 1 <= len(names(place)) <= len(before) + FLEET + 1
        place.borg("check", place.repo)
        for vm in result["vms"][:: FLEET // 3]:
            assert_extracts(place, vm["archive"], vms[vm["vm"]])


def names(place: Desk) -> list[str]:
    """Of whom it has archives."""
    listed = place.borg("list", "--lock-wait", "60", "--short", place.repo)
    return [name.split("-")[0] for name in listed.split()]
