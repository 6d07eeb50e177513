"""The engine's names of operating systems in libosinfo's terms. Pure.

As found in osinfo-db; a system that is not known here is left untold, which libvirt allows.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_WINDOWS = {
    "windows_7": "win/7",
    "windows_8": "win/8",
    "windows_10": "win/10",
    "windows_11": "win/11",
    "windows_2008": "win/2k8",
    "windows_2008r2": "win/2k8r2",
    "windows_2012": "win/2k12",
    "windows_2012r2": "win/2k12r2",
    "windows_2016": "win/2k16",
    "windows_2019": "win/2k19",
    "windows_2022": "win/2k22",
    "windows_2025": "win/2k25",
}
_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"rhel_(\d+)$"), lambda m: f"http://redhat.com/rhel/{m[1]}.0"),
    (re.compile(r"debian_(\d+)$"), lambda m: f"http://debian.org/debian/{m[1]}"),
    (re.compile(r"ubuntu_(\d\d)_(\d\d)$"), lambda m: f"http://ubuntu.com/ubuntu/{m[1]}.{m[2]}"),
    (re.compile(r"sles_(\d+)$"), lambda m: f"http://suse.com/sles/{m[1]}"),
    (re.compile(r"(windows_\w+)$"), lambda m: f"http://microsoft.com/{_WINDOWS.get(m[1], '')}"),
)


def os_id(name: str) -> str | None:
    """libosinfo's id of a system of the engine's (`rhel_8x64`); None if it is not known."""
    base = re.sub(r"_?x64$", "", name.lower())
    for pattern, made in _PATTERNS:
        if found := pattern.match(base):
            known = made(found)
            return None if known.endswith("/") else known
    return None
