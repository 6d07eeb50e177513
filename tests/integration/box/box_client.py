"""A plain backup client for the tests of the box: the real SDK for the engine, requests for the data."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ovirtsdk4 as sdk
import requests
from ovirtbox.box import Box
from ovirtbox.model import Disk, Vm
from ovirtsdk4 import types

MIB = 1 << 20
KIB = 1 << 10


class Client:
    """Asks as a tool would; every wait has a deadline."""

    def __init__(self, box: Box, connection: sdk.Connection) -> None:
        self.box = box
        self.system = connection.system_service()
        self.transfers = self.system.image_transfers_service()

    # --- transfers ---

    def transfer(self, disk: Disk | None = None, **more: Any) -> types.ImageTransfer:
        """Start one (a raw download unless told otherwise); it is transferring when this returns."""
        more.setdefault("direction", types.ImageTransferDirection.DOWNLOAD)
        more.setdefault("format", types.DiskFormat.RAW)
        if disk is not None:
            more["disk"] = types.Disk(id=disk.id)
        made = self.transfers.add(types.ImageTransfer(**more))
        assert made.phase == types.ImageTransferPhase.TRANSFERRING
        return made

    def phase(self, transfer: types.ImageTransfer) -> str:
        return str(self.transfers.image_transfer_service(transfer.id).get().phase.value)

    def wait_phase(self, transfer: types.ImageTransfer, *wanted: str) -> str:
        return self.until(lambda: self.phase(transfer), lambda phase: phase in wanted)

    def finalize(self, transfer: types.ImageTransfer) -> str:
        self.transfers.image_transfer_service(transfer.id).finalize()
        return self.wait_phase(transfer, "finished_success", "finished_failure")

    def cancel(self, transfer: types.ImageTransfer) -> str:
        self.transfers.image_transfer_service(transfer.id).cancel()
        return self.wait_phase(transfer, "finished_success", "finished_failure")

    # --- data ---

    def http(self, method: str, url: str, **more: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.box.ca_file)
            return session.request(method, url, timeout=60, **more)

    def read(self, url: str, start: int, length: int) -> bytes:
        answer = self.http("GET", url, headers={"Range": f"bytes={start}-{start + length - 1}"})
        assert answer.status_code == 206, answer.text
        assert len(answer.content) == length
        return answer.content

    def write(self, url: str, start: int, data: bytes) -> None:
        headers = {"Content-Range": f"bytes {start}-{start + len(data) - 1}/*"}
        answer = self.http("PUT", url, data=data, headers=headers)
        assert answer.status_code == 200, answer.text

    def sha(self, url: str, size: int) -> str:
        digest = hashlib.sha256()
        for start in range(0, size, 8 * MIB):
            digest.update(self.read(url, start, min(8 * MIB, size - start)))
        return digest.hexdigest()

    def dirty(self, url: str) -> list[tuple[int, int]]:
        """Dirty ranges, merged."""
        answer = self.http("GET", f"{url}/extents?context=dirty")
        assert answer.status_code == 200, answer.text
        found: list[tuple[int, int]] = []
        for extent in answer.json():
            start, end = extent["start"], extent["start"] + extent["length"]
            if extent["dirty"] and found and found[-1][1] == start:
                found[-1] = (found[-1][0], end)
            elif extent["dirty"]:
                found.append((start, end))
        return found

    # --- backups ---

    def backups(self, vm: Vm) -> Any:
        return self.system.vms_service().vm_service(vm.id).backups_service()

    def checkpoints(self, vm: Vm) -> list[types.Checkpoint]:
        found: list[types.Checkpoint] = self._checkpoints(vm).list()
        return found

    def _checkpoints(self, vm: Vm) -> Any:
        return self.system.vms_service().vm_service(vm.id).checkpoints_service()

    def remove_checkpoint(self, vm: Vm, checkpoint: str) -> None:
        self._checkpoints(vm).checkpoint_service(checkpoint).remove()
        self.until(lambda: [c.id for c in self.checkpoints(vm)], lambda ids: checkpoint not in ids)

    def start_backup(
        self, vm: Vm, disks: Sequence[Disk], *, since: str | None = None, legacy: bool = True, **query: str
    ) -> types.Backup:
        """A backup that is ready: live or cold if `legacy`, else what the level of the cluster brings."""
        wanted = types.Backup(disks=[types.Disk(id=d.id) for d in disks], from_checkpoint_id=since)
        made = self.backups(vm).add(wanted, query={"legacy": "true", **query} if legacy else query)
        return self.wait_backup(vm, made.id, "ready")

    def wait_backup(self, vm: Vm, backup_id: str, *wanted: str) -> types.Backup:
        service = self.backups(vm).backup_service(backup_id)
        found = self.until(service.get, lambda b: b.phase.value in (*wanted, "failed"))
        assert found.phase.value in wanted, f"backup is {found.phase.value}"
        return found

    def modes(self, vm: Vm, backup_id: str) -> dict[str, str]:
        rows = self.backups(vm).backup_service(backup_id).disks_service().list()
        return {row.id: row.backup_mode.value for row in rows if row.backup_mode}

    def end_backup(self, vm: Vm, backup_id: str) -> types.Backup:
        self.backups(vm).backup_service(backup_id).finalize()
        return self.wait_backup(vm, backup_id, "succeeded")

    def until(self, look: Callable[[], Any], good: Callable[[Any], bool], timeout: float = 30) -> Any:
        deadline = time.monotonic() + timeout
        while True:
            seen = look()
            if good(seen):
                return seen
            assert time.monotonic() < deadline, f"waited {timeout} s, last saw {seen}"
            time.sleep(self.box.engine.clock.tick)


def sha_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(call: Callable[[], object]) -> tuple[int | None, str]:
    """Status and detail of what the engine answers to a call that it must refuse."""
    try:
        call()
    except sdk.Error as error:
        return error.code, error.fault.detail if error.fault else ""
    raise AssertionError("the engine accepted it")
