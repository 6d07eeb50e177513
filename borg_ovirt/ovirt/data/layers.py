"""The volumes of snapshot chains as sources: one transfer for each, all of them open at one instant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from borg_ovirt.errors import BorgOvirtError, TransferFailed
from borg_ovirt.ovirt.data.imageio import Source, export_size
from borg_ovirt.ovirt.data.transfer import Download, TransferRequest
from borg_ovirt.ovirt.data.transfer_session import Persistence, TransferSession
from borg_ovirt.ovirt.facts.chain import LayerFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal

T = TypeVar("T")

_AT_ONCE = 4
"""The engine takes seconds to start or to end a transfer, so a few are asked for at a time."""


def layer_request(layer: LayerFacts, name: str, vm_id: str, *, active: bool) -> TransferRequest:
    """The transfer of one volume: its file as it lies. Of a raw one the zeros are told besides."""
    return TransferRequest(
        "download",
        layer.disk_id,
        name,
        layer.capacity,
        vm_id=vm_id,
        image_id=None if active else layer.image_id,
        format="raw" if layer.format == "raw" else None,
    )


def layer_size(session: TransferSession) -> int:
    """Length in bytes of what the daemon offers: of a qcow2 file the engine tells only what it takes."""
    size = export_size(session)
    if not size:
        raise TransferFailed(f"The daemon offers nothing of {session.name}.")
    return size


class OpenLayers:
    """Downloads that are under way, by the id of the image. Use as a context; call `finish` inside."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        log: Callable[[str], None],
        persistence: Persistence | None = None,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._log = log
        self._persistence = persistence
        self._transfers: dict[str, Download] = {}
        self._sizes: dict[str, int] = {}

    def open(self, wanted: Iterable[tuple[str, TransferRequest]]) -> None:
        """Start the transfers; the first one that fails is raised when all others have come through."""
        made = [(image_id, Download(self._engine, self._journal, request)) for image_id, request in wanted]
        self._transfers.update(made)
        _each(lambda item: self._start(*item), made)

    def _start(self, image_id: str, transfer: Download) -> None:
        transfer.start(self._persistence)
        raw = transfer.request.format == "raw"
        self._sizes[image_id] = transfer.request.size if raw else layer_size(transfer.session)

    def source(self, image_id: str) -> Source:
        """The bytes of the volume."""
        return Source(self._transfers[image_id].session, self._sizes[image_id])

    def finish(self) -> None:
        """Every byte was read: end all transfers with success, and see that the engine agrees."""
        for transfer in self._transfers.values():
            transfer.finalize()
        _each(lambda transfer: transfer.wait_success(), self._transfers.values())

    def __enter__(self) -> OpenLayers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what has not ended. A transfer that cannot be ended stays in the journal for the next run."""
        for transfer in self._transfers.values():
            transfer.hang_up()
        _each(self._abort, self._transfers.values())

    def _abort(self, transfer: Download) -> None:
        try:
            transfer.abort()
        except BorgOvirtError as error:
            self._log(
                f"could not end the transfer of {transfer.request.name}: {error.message} "
                "The next run or `borg-ovirt cleanup` will."
            )


def _each(work: Callable[[T], None], items: Iterable[T]) -> None:
    """A few at a time; all are tried, then the first error is raised."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="layers") as pool:
        running = [pool.submit(work, item) for item in items]
    for done in running:
        done.result()
