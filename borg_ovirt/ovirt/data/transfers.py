"""Image transfers by their ids: found, read, ended, by the run that made them or by one that cleans up."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from borg_ovirt.errors import Timeout, TransferFailed
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound

TERMINAL = {"finished_success", "finished_failure"}
BEGINNING = {"initializing", "resuming", "unknown"}
PASSING = {*BEGINNING, "transferring"}
"""Phases of a transfer that can be used, or will be."""


def read_transfer(engine: Engine, transfer_id: str) -> Any | None:
    """The engine's transfer; None if it has forgotten it."""
    try:
        return engine.call(
            f"read the transfer {transfer_id}",
            lambda s: s.image_transfers_service().image_transfer_service(transfer_id).get(),
        )
    except NotFound:
        return None


def phase_of(transfer: Any | None) -> str:
    """The phase as the API spells it; `gone` if there is no such transfer."""
    if transfer is None:
        return "gone"
    phase = transfer.phase
    return str(getattr(phase, "value", phase) or "unknown")


def find_transfer(
    engine: Engine, disk_id: str, direction: str, mark: int, *, well: bool = False
) -> str | None:
    """The id of the unfinished transfer that bears our mark, if it came to be; `well`: one that can be used.

    One that could not be started is listed all the same, paused or ending by itself.
    """
    transfers = engine.call("list the transfers", lambda s: s.image_transfers_service().list())
    for transfer in transfers or ():
        same_disk = transfer.image is not None and transfer.image.id == disk_id
        phase = phase_of(transfer)
        if phase.startswith("finished") or (well and phase not in PASSING):
            continue
        if same_disk and transfer.inactivity_timeout == mark and str(transfer.direction) == direction:
            return str(transfer.id)
    return None


def end_transfers_of(engine: Engine, disk_ids: Collection[str]) -> None:
    """End every unfinished download of these disks, whoever began it. Does not wait."""
    for transfer in engine.call("list the transfers", lambda s: s.image_transfers_service().list()) or ():
        mine = transfer.image is not None and transfer.image.id in disk_ids
        if mine and str(transfer.direction) == "download":
            ask_to_end(engine, transfer.id, f"disk {transfer.image.id}")


def end_transfer(engine: Engine, transfer_id: str, name: str, *, keep_disk: bool = False) -> None:
    """End a transfer unless it is ending already, and wait until it has ended."""
    if ask_to_end(engine, transfer_id, name, keep_disk=keep_disk):
        wait_terminal(engine, transfer_id, name, min(engine.patience.unwind, engine.patience.end))


def ask_to_end(engine: Engine, transfer_id: str, name: str, *, keep_disk: bool = False) -> bool:
    """Ask for the end of a transfer unless it is ending already; false if it has ended.

    It is cancelled. An upload takes its whole disk with it then, so with `keep_disk` it is finalized: the
    disk stays, with what was written until now. [seen: of one in which nothing was written] One that is only
    beginning would go on from there and forget that it was asked to, so it is waited for.
    """
    phase = phase_of(read_transfer(engine, transfer_id))
    if keep_disk and phase in BEGINNING:
        phase = _wait_begun(engine, transfer_id, name)
    if phase in TERMINAL or phase == "gone":
        return False
    if not phase.startswith(("finalizing", "cancelled", "finished")):
        try:
            engine.call(
                f"{'finalize' if keep_disk else 'cancel'} the transfer of {name}",
                lambda s: _end_request(s.image_transfers_service(), transfer_id, keep_disk),
            )
        except NotFound:
            return False
    return True


def _wait_begun(engine: Engine, transfer_id: str, name: str) -> str:
    """The phase after the beginning, or still `initializing` when that takes too long."""

    def probe() -> str | None:
        phase = phase_of(read_transfer(engine, transfer_id))
        return None if phase in BEGINNING else phase

    patience = engine.patience
    try:
        return patience.wait(
            f"the transfer of {name} to begin", probe, min(patience.unwind, patience.start) / 2
        )
    except Timeout:
        return "initializing"


def _end_request(transfers: Any, transfer_id: str, keep_disk: bool) -> None:
    service = transfers.image_transfer_service(transfer_id)
    if keep_disk:
        service.finalize()
    else:
        service.cancel()


def wait_terminal(engine: Engine, transfer_id: str, name: str, seconds: float | None = None) -> str:
    """The phase in which a transfer ended; `gone` if the engine has forgotten it."""

    def probe() -> str | None:
        phase = phase_of(read_transfer(engine, transfer_id))
        if phase.startswith("paused"):
            raise TransferFailed(f"The engine paused the transfer of {name} (phase {phase}).")
        return phase if phase in TERMINAL or phase == "gone" else None

    if seconds is None:
        seconds = engine.patience.end
    try:
        return engine.patience.wait(f"the transfer of {name} to end", probe, seconds)
    except Timeout as error:
        error.hint = f"Transfer {transfer_id} is still there; `borg-ovirt cleanup` ends it later."
        raise
