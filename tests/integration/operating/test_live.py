"""`make live` against the box's REST: green at both levels, and the box as it was found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ovirtbox.box import Box


def live(box: Box, directory: Path, **given: str) -> str:
    """What it prints; it must end well and leave the box as it was."""
    role = box.make_documented_user("documented")
    every = box.env()
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LIVE_URL": every["BORG_OVIRT_URL"],
        "LIVE_USER": every["BORG_OVIRT_USERNAME"],
        "LIVE_PASSWORD_FILE": every["BORG_OVIRT_PASSWORD_FILE"],
        "LIVE_CA_FILE": every["BORG_OVIRT_CA_FILE"],
        "LIVE_STORAGE_DOMAINS": "data",
        "LIVE_ROLE_USER": role["BORG_OVIRT_USERNAME"],
        "LIVE_ROLE_PASSWORD_FILE": role["BORG_OVIRT_PASSWORD_FILE"],
        "LIVE_DIR": str(directory / "live"),
        **given,
    }
    before = set(box.world.vms), set(box.world.disks)
    done = subprocess.run([sys.executable, "-m", "live"], env=env, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.endswith("Left in the engine: nothing.\n")
    assert (set(box.world.vms), set(box.world.disks)) == before
    assert box.clean() == []
    return done.stdout


def test_what_of_make_live_is_short(box: Box, tmp_path: Path) -> None:
    """The hybrid backup of a VM that runs is forced: how long reading takes must not decide about it."""
    told = live(box, tmp_path, LIVE_CLUSTERS="Default", LIVE_ONLY="hybrid, role")
    assert "full (hybrid backup), then incremental (hybrid backup)" in told
    assert "each right proven, and a backup made" in told
    assert "\n2 ok, 0 failed, 8 not tried.\n" in told
    assert told.count("LIVE_ONLY leaves it out") == 8


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_all_that_make_live_tries(box: Box, tmp_path: Path) -> None:
    box.make_cluster("Older", (4, 6))
    told = live(box, tmp_path, LIVE_CLUSTERS="Default, Older, NoSuchCluster")
    assert "\n19 ok, 0 failed, 2 not tried.\n" in told
    assert "not tried: VM up, hybrid backup" in told
    assert "not tried: cluster NoSuchCluster" in told
