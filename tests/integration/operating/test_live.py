"""`make live` against the box's REST: green at both levels, and the box as it was found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ovirtbox.box import Box


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_all_that_make_live_tries(box: Box, tmp_path: Path) -> None:
    box.make_cluster("Older", (4, 6))
    role = box.make_documented_user("documented")
    every = box.env()
    env = {
        **os.environ,
        "LIVE_URL": every["BORG_OVIRT_URL"],
        "LIVE_USER": every["BORG_OVIRT_USERNAME"],
        "LIVE_PASSWORD_FILE": every["BORG_OVIRT_PASSWORD_FILE"],
        "LIVE_CA_FILE": every["BORG_OVIRT_CA_FILE"],
        "LIVE_CLUSTERS": "Default, Older, NoSuchCluster",
        "LIVE_STORAGE_DOMAINS": "data",
        "LIVE_ROLE_USER": role["BORG_OVIRT_USERNAME"],
        "LIVE_ROLE_PASSWORD_FILE": role["BORG_OVIRT_PASSWORD_FILE"],
        "LIVE_DIR": str(tmp_path / "live"),
    }
    before = set(box.world.vms), set(box.world.disks)
    done = subprocess.run([sys.executable, "-m", "live"], env=env, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "\n17 ok, 0 failed, 2 not tried.\n" in done.stdout
    assert "not tried: VM up, live backup" in done.stdout
    assert "not tried: cluster NoSuchCluster" in done.stdout
    assert done.stdout.endswith("Left in the engine: nothing.\n")
    assert (set(box.world.vms), set(box.world.disks)) == before
    assert box.clean() == []
