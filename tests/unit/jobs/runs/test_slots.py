"""Places for readers are shared between processes, and a dead process gives its own back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from borg_ovirt.jobs.runs.slots import places, try_lock

_HOLD = """
import sys
from pathlib import Path
from borg_ovirt.jobs.runs.slots import try_lock
held = try_lock(Path(sys.argv[1]))
print("held" if held else "taken", flush=True)
sys.stdin.read()
"""


def test_as_many_as_the_narrowest_limit_leaves(tmp_path: Path) -> None:
    with places(tmp_path, {"domain-a": 8, "host-b": 3}, 4) as got:
        assert got == 3
        with places(tmp_path, {"domain-a": 8}, 8) as rest:
            assert rest == 4  # the first took four before it knew of the host
    with places(tmp_path, {"domain-a": 8}, 8) as all_again:
        assert all_again == 8


def test_without_limits_everything_wanted_is_got(tmp_path: Path) -> None:
    with places(tmp_path, {}, 4) as got:
        assert got == 4


def test_a_killed_process_gives_its_place_back(tmp_path: Path) -> None:
    path = tmp_path / "x" / "domain.0.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert try_lock(path) is None
    process.kill()
    process.wait()
    ours = try_lock(path)
    assert ours is not None
    ours.close()
