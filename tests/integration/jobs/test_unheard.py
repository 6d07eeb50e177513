"""A backup whose words nobody takes: the archive is made, or cleanly not, and nothing of ours stays."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

MIB = 1 << 20


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    made = box.make_vm("unheard", [DiskSpec(24 * MIB, bootable=True), DiskSpec(8 * MIB, format="raw")])
    for number, disk in enumerate(box.disks(made)):
        box.fill(disk, 0, 6 * MIB, seed=number)
    box.world.vms[made.id].description = 'password: "x \x9b2J\u202e'
    return made


def shell(desk: Desk, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `$@` is our command."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *desk.command("create", f"{desk.repo}::unheard")],
        env={**desk.env, **env},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ('"$@" -v --debug 2>&1 | head -1; exit ${PIPESTATUS[0]}', 0),
        ('"$@" -v | true; exit ${PIPESTATUS[0]}', 0),
        ('"$@" 2>/dev/full', 0),
        ('"$@" >/dev/full', 1),
        ('"$@" >&- 2>&- <&-', 0),
        ('LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii "$@"', 0),
    ],
)
@pytest.mark.parametrize("mode", ["image", "chain"])
def test_the_archive_is_made_though_nobody_listens(
    box: Box, desk: Desk, vm: Vm, line: str, status: int, mode: str
) -> None:
    done = shell(desk, line.replace('"$@"', f'"$@" --mode {mode}'))
    assert done.returncode == status, done.stderr
    assert "fault of borg-ovirt" not in done.stderr
    assert len(desk.archives()) == 1
    if mode == "image":
        desk.assert_archived(desk.archives()[0], vm)
    desk.assert_clean()


def test_a_run_that_does_nothing_does_not_end_with_1(desk: Desk, vm: Vm) -> None:
    done = shell(desk, '"$@" --url https://localhost:9 2>/dev/full')
    assert done.returncode == 10
    assert desk.archives() == []


def test_a_terminal_that_is_closed_in_the_midst_of_it_unwinds(box: Box, desk: Desk, vm: Vm) -> None:
    """The hang-up ends the backup in order though each word of that is refused by the terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        desk.command("create", "--rate-limit", "2MiB", f"{desk.repo}::unheard"),
        env=desk.env,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    disks = {disk.id for disk in box.disks(vm)}
    try:
        box.wait(
            lambda: any(
                t.disk_id in disks and t.phase == "transferring" for t in list(box.world.transfers.values())
            ),
            "a transfer",
            timeout=60,
        )
        os.close(master)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=120) == 128 + signal.SIGHUP
    finally:
        process.kill()
        process.wait()
    assert desk.archives() == []
    desk.assert_clean()


def test_what_others_wrote_neither_breaks_json_nor_steers_a_terminal(
    desk: Desk, vm: Vm, tmp_path: Path
) -> None:
    made = desk.create("unheard")["archive"]
    facts = json.loads(desk.run("info", "--json", f"{desk.repo}::{made}").ok().out)
    assert facts["manifest"]["vm"]["description"] == "password: ***"
    assert all(line.isprintable() for line in desk.run("info", f"{desk.repo}::{made}").ok().out.splitlines())


def test_no_child_inherits_the_engines_password(desk: Desk, vm: Vm, tmp_path: Path) -> None:
    """Here Borg's remote shell and a pass command of Borg's; both write down what they were given."""
    seen = tmp_path / "seen"
    tell = f'echo "<$BORG_OVIRT_PASSWORD>" >> {seen}'
    rsh = tmp_path / "rsh"
    rsh.write_text(f'#!/bin/sh\n{tell}\nshift\nexec "$@"\n')
    passcommand = tmp_path / "pass"
    passcommand.write_text(f"#!/bin/sh\n{tell}\necho '{desk.env['BORG_PASSPHRASE']}'\n")
    for script in (rsh, passcommand):
        script.chmod(0o755)
    env = {key: value for key, value in desk.env.items() if key != "BORG_PASSPHRASE"}
    env |= {"BORG_RSH": str(rsh), "BORG_PASSCOMMAND": str(passcommand)}
    env |= {"BORG_OVIRT_PASSWORD": desk.box.password, "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
    env.pop("BORG_OVIRT_PASSWORD_FILE", None)
    remote = str(Path(desk.command()[0]).with_name("borg"))
    done = subprocess.run(
        desk.command("create", "--remote-path", remote, f"ssh://backup.example{desk.repo}::unheard"),
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert seen.read_text().split() == ["<>"] * len(seen.read_text().split())
    assert len(seen.read_text().split()) >= 2
