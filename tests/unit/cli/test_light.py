"""Help, manual pages and completions need nothing but click: packages are built where nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from borg_ovirt.cli.root import COMMANDS

TREE = Path(__file__).parents[3]
ALONE = """
import runpy, sys, sysconfig
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if path is None and name not in sys.stdlib_module_names and name not in ("click", "borg_ovirt"):
            raise ModuleNotFoundError(f"{name} is not there when a package is built")
sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_pages_of_all_commands_are_made_with_click_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(TREE / "tools" / "share"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {f"borg-ovirt-{name}.1" for name in COMMANDS} < {path.name for path in tmp_path.rglob("*.1")}
