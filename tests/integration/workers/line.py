"""A line to a repository that counts what is sent, may be slow, and may kill whoever sends."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness import BIN

_SCRIPT = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path

here = Path(__file__).parent
read = lambda name: int((here / name).read_text() or 0)
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
breaks, rate, sent = read("breaks"), read("rate"), 0
for once in ("breaks", "rate"):
    (here / once).write_text("0")
while data := os.read(0, 1 << 16):
    sent += len(data)
    (here / "sent").write_text(str(sent))
    if breaks and sent > breaks:
        os.kill(os.getppid(), signal.SIGKILL)
        break
    if rate:
        time.sleep(len(data) / rate)
    server.stdin.write(data)
    server.stdin.flush()
server.stdin.close()
sys.exit(server.wait())
"""


@dataclass
class Line:
    """`env` makes Borg take it."""

    folder: Path
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        script = self.folder / "rsh"
        script.write_text(_SCRIPT.replace("{python}", sys.executable))
        script.chmod(0o755)
        self.env = {"BORG_RSH": str(script), "BORG_REMOTE_PATH": str(BIN / "borg")}
        self.now()

    def now(self, *, breaks: int = 0, rate: int = 0) -> None:
        """The next who uses it sends so many bytes a second, and is killed after so many; 0: neither."""
        for name, value in (("breaks", breaks), ("rate", rate), ("sent", 0)):
            (self.folder / name).write_text(str(value))

    @property
    def sent(self) -> int:
        """Bytes that went over it since `now`, by the last who used it."""
        return int((self.folder / "sent").read_text())

    def location(self, path: Path) -> str:
        return f"ssh://{os.uname().nodename}{path}"
