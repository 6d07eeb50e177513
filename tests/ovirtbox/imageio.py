"""The real ovirt-imageio daemon, as a process of its own: tickets through its control socket."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ovirtbox.pki import Pki
from ovirtbox.processes import ToolFailed, end, last_lines, spawn

_CONFIG = """\
[daemon]
systemd_enable = false
drop_privileges = false
poll_interval = 0.05
run_dir = {run}
[tls]
key_file = {pki.key_file}
cert_file = {pki.cert_file}
ca_file = {pki.ca_file}
[backend_http]
ca_file = {pki.ca_file}
[remote]
host = 127.0.0.1
port = {port}
[local]
{local}
[control]
transport = unix
socket = {control}
remove_timeout = 2
[handlers]
keys = stderr
[logger_root]
level = INFO
handlers = stderr
"""
_LISTENING = re.compile(r"\[services\] remote\.service listening on \('[^']*', (\d+)")
_READY = "Ready for requests"


class TicketBusy(Exception):
    """A ticket cannot be removed yet: an operation of a client still runs."""


class _Control(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Imageio:
    """One daemon: the host's (with a data socket) or the engine's proxy (without)."""

    def __init__(self, directory: Path, pki: Pki, *, data_socket: bool) -> None:
        self.directory = directory
        self.port = 0
        self._pki = pki
        self._process: subprocess.Popen[bytes] | None = None
        self._control_path = directory / "control"
        self.data_path = directory / "data" if data_socket else None
        self._log = directory / "log"
        self._connection = threading.Lock()
        self._control: _Control | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    # --- life ---

    def launch(self) -> None:
        """Start without waiting; `wait_ready` must follow. A second launch keeps the port of the first."""
        configuration = self.directory / "etc" / "conf.d"
        configuration.mkdir(parents=True, exist_ok=True)
        local = "enable = false" if self.data_path is None else f"socket = {self.data_path}"
        (configuration / "50-box.conf").write_text(
            _CONFIG.format(
                run=self.directory, pki=self._pki, port=self.port, local=local, control=self._control_path
            )
        )
        self._log.unlink(missing_ok=True)
        self._control_path.unlink(missing_ok=True)
        program = Path(sys.executable).parent / "ovirt-imageio"
        self._process = spawn([str(program), "-c", str(self.directory / "etc")], log=self._log)

    def wait_ready(self, deadline: float = 30) -> None:
        assert self._process is not None
        until = time.monotonic() + deadline
        while time.monotonic() < until:
            said = self._log.read_text(errors="replace") if self._log.exists() else ""
            port = _LISTENING.search(said)
            if port and _READY in said:
                self.port = int(port.group(1))
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise ToolFailed(f"ovirt-imageio did not start: {last_lines(self._log)}")

    def stop(self) -> None:
        self._forget_connection()
        if self._process is not None:
            end(self._process)

    def restart(self) -> None:
        """As a crash of the daemon: every ticket and every connection is gone; the port stays."""
        self._forget_connection()
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.launch()
        self.wait_ready()

    # --- tickets ---

    def add_ticket(self, ticket: dict[str, Any]) -> None:
        self._call("PUT", ticket["uuid"], ticket)

    def ticket(self, ticket_id: str) -> dict[str, Any] | None:
        """What the daemon knows of a ticket; None when it has none."""
        return self._call("GET", ticket_id)

    def extend_ticket(self, ticket_id: str, timeout: int) -> bool:
        return self._call("PATCH", ticket_id, {"timeout": timeout}) is not None

    def remove_ticket(self, ticket_id: str) -> None:
        """TicketBusy while an operation of a client runs."""
        self._call("DELETE", ticket_id)

    def _call(self, method: str, ticket_id: str, body: object = None) -> dict[str, Any] | None:
        payload = None if body is None else json.dumps(body)
        with self._connection:
            for fresh in (self._control is None, True):
                if self._control is None:
                    self._control = _Control(self._control_path)
                try:
                    self._control.request(method, f"/tickets/{ticket_id}", payload)
                    answer = self._control.getresponse()
                    data = answer.read()
                    break
                except (OSError, http.client.HTTPException) as error:
                    self._control.close()
                    self._control = None
                    if fresh:  # not just a kept connection that the daemon closed meanwhile
                        raise ToolFailed(f"imageio control: {error}") from error
        if answer.status == 404:
            return None
        if answer.status == 409:
            raise TicketBusy(ticket_id)
        if answer.status >= 300:
            raise ToolFailed(f"imageio control: {method} {answer.status} {data.decode(errors='replace')}")
        return json.loads(data) if data else {}

    def _forget_connection(self) -> None:
        with self._connection:
            if self._control is not None:
                self._control.close()
                self._control = None
