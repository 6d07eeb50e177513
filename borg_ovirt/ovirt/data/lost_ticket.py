"""An upload that cannot go on: what was written is kept, so that another transfer can go on from there."""

from __future__ import annotations

import logging
from collections.abc import Callable

from borg_ovirt.errors import TransferFailed
from borg_ovirt.ovirt.session.engine import Engine

log = logging.getLogger(__name__)


class UploadLost(TransferFailed):
    """Nothing can be made of what was uploaded: only another disk, filled from its first byte, can help."""


def keep_what_was_written(
    engine: Engine, transfer_id: str, name: str, image_format: str | None, wait_terminal: Callable[[], str]
) -> None:
    """End a paused upload with success. `resume` makes no ticket and `cancel` removes the disk (both seen on
    4.5.8); but the host checks the volume's format at this end, and only that of guest data (`raw`), whose
    headers it writes itself, is sound half-way. `TransferFailed` where it cannot be.
    """
    if image_format != "raw":
        raise UploadLost(
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
        raise UploadLost(
            f"The upload of {name} lost its ticket and ended with {phase}.", "Look at the engine's events."
        )
