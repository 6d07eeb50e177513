"""The processes of the box die with it, however it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PROGRAM = """
import signal, sys, threading
from pathlib import Path
from ovirtbox.box import Box, DiskSpec
from ovirtbox import transfers
with Box.start(Path(sys.argv[1])) as box:
    vm = box.make_vm("a", [DiskSpec(1 << 20)])
    idle = box.add_disk(None, DiskSpec(1 << 20))
    transfers.start(box.engine, transfers.Wanted(disk_id=idle.id, direction="download", format="raw"))
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print("ready", flush=True)
    while not ended.wait(0.1):
        pass
"""


def children_of(pid: int) -> dict[int, str]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        if int(rest.split()[1]) == pid:
            found[int(stat.parent.name)] = name
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_the_box(tmp_path: Path, how: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "box")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as box:
        assert box.stdout is not None
        assert box.stdout.readline() == "ready\n"
        children = children_of(box.pid)
        names = sorted(children.values())
        assert names == ["ovirt-imageio", "ovirt-imageio", "qemu-nbd", "qemu-storage-da"]
        box.send_signal(how)
        box.wait(30)
    deadline = time.monotonic() + 20
    while left := [name for pid, name in children.items() if alive(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)
