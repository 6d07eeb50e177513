"""The box in the foreground: says how to be reached, serves, and leaves nothing when it is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import ovirtsdk4 as sdk
import ovirtsdk4.types as types
import pytest

TESTS = Path(__file__).parents[2]


def session_of(leader: int) -> list[int]:
    """The processes of a session: the box was made the leader of one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == leader:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


@pytest.mark.thin(1)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve(tmp_path: Path, ending: signal.Signals) -> None:
    directory = tmp_path / "box"
    process = subprocess.Popen(
        [sys.executable, "-m", "ovirtbox", "serve", "--dir", str(directory), "--tick", "0.05"],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("Ctrl-C"):
                break
        exported = dict(re.findall(r"^export (\w+)=(.*)$", printed, re.MULTILINE))
        assert exported.keys() == {
            "BORG_OVIRT_URL",
            "BORG_OVIRT_USERNAME",
            "BORG_OVIRT_PASSWORD_FILE",
            "BORG_OVIRT_CA_FILE",
        }
        password_file = Path(exported["BORG_OVIRT_PASSWORD_FILE"])
        password = password_file.read_text().strip()
        assert password_file.stat().st_mode & 0o077 == 0
        assert password not in printed
        connection = sdk.Connection(
            url=exported["BORG_OVIRT_URL"],
            username=exported["BORG_OVIRT_USERNAME"],
            password=password,
            ca_file=exported["BORG_OVIRT_CA_FILE"],
        )
        vms = {vm.name: vm.status for vm in connection.system_service().vms_service().list()}
        assert vms == {
            "web01": types.VmStatus.UP,
            "db01": types.VmStatus.DOWN,
            "thin01": types.VmStatus.DOWN,
        }
        connection.close()
        assert len(session_of(process.pid)) > 1
    finally:
        os.killpg(process.pid, ending)  # as a terminal does: the children hear it too
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
    assert process.returncode == 0
    assert session_of(process.pid) == []
