"""A target handed to atheris, which follows the branches of our code.

`python -m unit.fuzz.branches NAME SECONDS CORPUS`: only what is imported under its eyes can be followed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["borg_ovirt"]):
    from unit.fuzz.targets import TARGETS


def main(name: str, seconds: int, corpus: Path) -> None:
    """Look for bytes that a target neither reads nor refuses."""
    target, seeds = TARGETS[name]
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=20000", "-rss_limit_mb=2048", "-timeout=20"]
    atheris.Setup([name, *limits, str(corpus)], target)
    atheris.Fuzz()


main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
