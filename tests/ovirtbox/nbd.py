"""One fresh qemu-nbd for each transfer, with the options a host gives it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovirtbox.processes import ToolFailed, end, last_lines, spawn, tool


@dataclass
class NbdServer:
    socket_path: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"nbd:unix:{self.socket_path}"

    def stop(self) -> None:
        end(self.process)
        self.socket_path.unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)


def start_nbd(
    directory: Path,
    name: str,
    image: Path,
    image_format: str,
    *,
    writable: bool = False,
    backing: bool = True,
    discard: bool = True,
    bitmap: str | None = None,
    broken_writes: bool = False,
) -> NbdServer:
    """Serve one image; `backing=False` is the shallow view. A missing bitmap raises ToolFailed."""
    file: dict[str, Any] = {"driver": "file", "filename": str(image)}
    if broken_writes:
        full = {"event": "none", "iotype": "write", "errno": 28}
        zero = {"event": "none", "iotype": "write-zeroes", "errno": 28}
        file = {"driver": "blkdebug", "image": file, "inject-error": [full, zero]}
    node: dict[str, Any] = {"driver": image_format, "file": file}
    if not backing and image_format != "raw":
        node["backing"] = None

    path, log = directory / f"{name}.sock", directory / f"{name}.log"
    command = ["qemu-nbd", "--socket", str(path), "--persistent", "--shared=8", "--export-name="]
    command += ["--cache=none", "--aio=native"]
    if image_format != "raw":
        command.append("--allocation-depth")
    if not writable:
        command.append("--read-only")
    elif discard:
        command += ["--discard=unmap", "--detect-zeroes=unmap"]
    else:
        command.append("--detect-zeroes=on")
    if bitmap:
        command.append(f"--bitmap={bitmap}")
    command.append("json:" + json.dumps(node))

    path.unlink(missing_ok=True)
    server = NbdServer(path, spawn(command, log=log), log)
    try:
        _wait_until_serving(server)
    except ToolFailed:
        server.stop()
        raise
    return server


def _wait_until_serving(server: NbdServer, deadline: float = 20) -> None:
    """The greeting is sent only after the image, and its bitmap, were found."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise ToolFailed(f"qemu-nbd: {last_lines(server.log)}")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(max(until - time.monotonic(), 0.01))
            try:
                probe.connect(str(server.socket_path))
                if probe.recv(18):
                    return
            except OSError:
                pass  # not yet
        time.sleep(0.002)
    raise ToolFailed("qemu-nbd did not start to serve")


def bitmaps_in(image: Path) -> dict[str, bool]:
    """The persistent bitmaps of a qcow2 file: name -> usable (not left in use by a crash, nor disabled)."""
    info = json.loads(tool("qemu-img", "info", "--force-share", "--output=json", "-f", "qcow2", image))
    found = info.get("format-specific", {}).get("data", {}).get("bitmaps", [])
    return {bitmap["name"]: bitmap["flags"] == ["auto"] for bitmap in found}


def bitmap_overlay(directory: Path, name: str, layers: list[Path], bitmap: str) -> Path:
    """A temporary qcow2 above `layers` (qcow2, base first) that holds the union of their bitmap."""
    overlay = directory / f"{name}.overlay"
    top = layers[-1]
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", top, "-F", "qcow2", overlay)
    try:
        tool("qemu-img", "bitmap", "--add", overlay, bitmap)
        for layer in layers:
            tool("qemu-img", "bitmap", "--merge", bitmap, "-b", layer, "-F", "qcow2", overlay, bitmap)
    except ToolFailed:
        overlay.unlink(missing_ok=True)
        raise
    return overlay
