"""Memory of large blocks is kept: making and freeing them again costs no page faults."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import resource, sys
from borg_ovirt.pipe.malloc import keep_memory
took = keep_memory() if sys.argv[1] == "keep" else None
def churn():
    for _ in range(50):
        block = b"x" * (4 << 20)
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 50 * (4 << 20) // 4096


def run(how: str, **env: str) -> tuple[str, int]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM, how]
    took, faults = subprocess.check_output(command, env={**kept, **env}, text=True).split()
    return took, int(faults)


def test_blocks_are_used_again_without_page_faults() -> None:
    took, faults = run("keep")
    assert took == "True"
    assert faults < PAGES / 100


def test_variables_of_the_user_go_first() -> None:
    took, faults = run("keep", MALLOC_MMAP_THRESHOLD_="65536")
    assert took == "False"
    assert faults > PAGES / 2, "the kernel gave each block anew"
