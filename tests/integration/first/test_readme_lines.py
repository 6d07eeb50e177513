"""The commands of README.md are run as they stand; those of root are the lines that `make packages` runs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from harness import BIN
from ovirtbox.box import MIB, Box, DiskSpec, sha_of

from borg_ovirt.ovirt.session.ca import fingerprint

TREE = Path(__file__).parents[3]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines(page: Path, prompt: str) -> list[str]:
    """What is typed, without the remarks behind it."""
    typed = [line for block in BLOCK.findall(page.read_text()) for line in block.splitlines()]
    return [re.sub(r"\s+# .*", "", line[2:]) for line in typed if line.startswith(f"{prompt} ")]


@pytest.fixture
def used() -> list[str]:
    """A person's own lines."""
    return [line for line in lines(TREE / "README.md", "$") if not line.startswith("make ")]


def test_what_a_person_pastes_backs_up_a_vm_and_brings_it_back(tmp_path: Path, used: list[str]) -> None:
    assert len(used) <= 10
    home = tmp_path / "home"
    home.mkdir()
    with Box.start(tmp_path / "box") as box:
        vm = box.make_vm("web01", [DiskSpec(8 * MIB)], running=False)
        box.fill(box.disks(vm)[0], MIB, 2 * MIB, seed=1)
        user = box.make_documented_user("backup")
        script = "\n".join(["set -e", *used])
        for theirs, ours in {
            "the password of backup@internal": Path(user["BORG_OVIRT_PASSWORD_FILE"]).read_text().strip(),
            "https://engine.example.org": box.url,
            "AB:CD:...": fingerprint(box.ca_file.read_text()),
        }.items():
            assert theirs in script
            script = script.replace(theirs, ours)
        # PYTHONPATH: the tree as it is; nothing else of ours is in a fresh login.
        env = {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(TREE)}
        done = subprocess.run(["bash", "-c", script], cwd=home, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        (restored,) = (home / "web01").glob("*.raw")
        assert sha_of(restored) == box.sha(box.disks(vm)[0])
        assert not box.clean(), box.clean()


def test_what_root_pastes_is_what_make_packages_runs() -> None:
    """In a clean root; `init` asks there for nothing, because each answer is given."""
    ran = lines(TREE / "docs" / "installing.md", "#")
    pasted = lines(TREE / "README.md", "#")
    assert len(pasted) >= 5
    assert pasted[0] == "borg-ovirt init"
    for line in pasted:
        assert line in ran or any(one.startswith(f"{line} --") for one in ran), line
