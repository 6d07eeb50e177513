"""An upload that cannot go on: what was written is kept, so that another transfer can go on from there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from borg_ovirt.errors import TransferFailed
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound

log = logging.getLogger(__name__)


def keep_what_was_written(
    engine: Engine, transfer_id: str, name: str, image_format: str | None, wait_terminal: Callable[[], str]
) -> None:
    """End a paused upload with success. `resume` makes no ticket and `cancel` removes the disk (both seen on
    4.5.8); but the host checks the volume's format at this end, and only that of guest data (`raw`), whose
    headers it writes itself, is sound half-way. `TransferFailed` where it cannot be.
    """
    if image_format != "raw":
        raise TransferFailed(
            f"The host lost the ticket of the upload of {name}, and the engine makes no other.",
            "Was its imageio daemon restarted? Try again.",
        )
    log.warning("%s: the host lost the ticket of its upload; going on with another transfer", name)
    engine.call(
        f"finalize the upload of {name}",
        lambda s: s.image_transfers_service().image_transfer_service(transfer_id).finalize(),
    )
    phase = wait_terminal()
    if phase != "finished_success":
        raise TransferFailed(
            f"The upload of {name} lost its ticket and ended with {phase}.", "Look at the engine's events."
        )


def finalize_as_it_is(engine: Engine, transfer_id: str, name: str, phase: Callable[[], str]) -> None:
    """End an upload into a disk that existed before with success, whatever was written; waits until the
    engine has begun to end it. One that is ending already is left alone.
    """

    def settled() -> str | None:
        now = phase()
        return None if now in ("initializing", "resuming", "unknown") else now

    found = engine.patience.wait(f"the transfer of {name} to settle", settled, engine.patience.start)
    if found != "transferring" and not found.startswith("paused"):
        return
    with suppress(NotFound):
        engine.call(
            f"finalize the transfer of {name}",
            lambda s: s.image_transfers_service().image_transfer_service(transfer_id).finalize(),
        )
    engine.patience.wait(
        f"the transfer of {name} to end", lambda: None if phase() == found else True, engine.patience.start
    )
