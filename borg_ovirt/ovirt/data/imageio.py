"""A disk as the imageio daemon offers it: extents and bytes out of it, bytes and zeros into it."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from typing import Any

from borg_ovirt.blocks import Extent, MiB
from borg_ovirt.errors import BorgOvirtError, CheckpointLost, TransferFailed
from borg_ovirt.ovirt.data import answers
from borg_ovirt.ovirt.data.imageio_connection import (
    DATA_TIMEOUT,
    SLOW_TIMEOUT,
    Broken,
    ImageioConnection,
    Refused,
    TicketGone,
)
from borg_ovirt.ovirt.data.transfer_session import Attempts, TransferSession

_STEP = 1 * MiB
"""Bytes are counted in steps of this size: what a cut can cost."""
_MAX_ZERO = 1 << 40


class Source:
    """A disk that is read. `size` is what the engine says the disk's size is, in bytes."""

    def __init__(self, session: TransferSession, size: int) -> None:
        self._session = session
        self.size = size

    def open(self) -> Reader:
        return Reader(self._session, self.size)

    def extents(self, context: str) -> Iterator[Extent]:
        """The whole disk in order without gaps, "zero" or "dirty"; a broken stream goes on where it broke."""
        position = 0
        attempts = Attempts(self._session)
        while position < self.size:
            generation = self._session.generation
            try:
                with self._session.connection() as connection:
                    for extent in self._stream(connection, context, position):
                        attempts.progress()
                        position = extent.end
                        yield extent
                if position < self.size:
                    raise TransferFailed(
                        f"The extents of {self._session.name} end at byte {position} of {self.size}."
                    )
            except Broken as error:
                attempts.failed(error)
            except TicketGone as error:
                attempts.gone(generation, error)
            except Refused as error:
                raise self._no_extents(context, error) from None

    def _stream(self, connection: ImageioConnection, context: str, position: int) -> Iterator[Extent]:
        """Extents from `position` on. A block volume may be longer than its disk: who lays them out knows."""
        for extent in _extents(connection, self._session.name, f"?context={context}"):
            first = max(extent.start, position)
            if first < extent.end:
                yield Extent(first, extent.end - first, extent.zero, extent.dirty)

    def _no_extents(self, context: str, error: Refused) -> BorgOvirtError:
        if context == "dirty" and error.status == 404:
            return CheckpointLost(f"{self._session.name}: its export has no dirty extents")
        return TransferFailed(f"No extents of {self._session.name}: {error}.")

    def close(self) -> None:
        """Cut every connection."""
        self._session.close()


class Reader:
    """One connection that reads. Not shared between threads."""

    def __init__(self, session: TransferSession, size: int) -> None:
        self.resumes = 0
        self.bytes_read = 0
        self._session = session
        self._size = size
        self._connection: ImageioConnection | None = None

    def read(self, offset: int, views: Sequence[memoryview]) -> Generator[memoryview, None, None]:
        """Fill the views from `offset` on in one request; after a cut, ask for the rest only."""
        buffers = [view.cast("B") for view in views]
        end = offset + sum(len(buffer) for buffer in buffers)
        position = offset
        attempts = Attempts(self._session)
        response: HTTPResponse | None = None
        index = filled = 0
        try:
            while index < len(buffers):
                buffer = buffers[index]
                generation = self._session.generation
                try:
                    if response is None and position < end:
                        response = self._request(position, end)
                    while filled < len(buffer):
                        assert response is not None
                        got = self._receive(response, buffer[filled : filled + _STEP])
                        filled += got
                        position += got
                        self.bytes_read += got
                        attempts.progress()
                except (Broken, TicketGone) as error:
                    response = None
                    self._lost(generation, error, attempts)
                    continue
                except Refused as error:
                    raise attempts.refused(error) from None
                yield views[index]
                index += 1
                filled = 0
        finally:
            if response is not None and not response.isclosed():
                self.close()  # the caller left before the end: unread bytes spoil the connection

    def _request(self, position: int, end: int) -> HTTPResponse:
        if self._connection is None:
            self._connection = self._session.dial()
        fresh = not self._connection.used
        headers = {"Range": f"bytes={position}-{end - 1}"}
        try:
            response = self._connection.send("GET", headers=headers, expect=206)
        except Broken:
            if fresh:
                raise
            # The daemon had hung up an idle connection: no bytes were lost, nothing to count.
            self.close()
            self._connection = self._session.dial()
            response = self._connection.send("GET", headers=headers, expect=206)
        if response.length != end - position:
            self.close()
            raise TransferFailed(
                f"The daemon offers {response.length} bytes of {self._session.name} at byte {position}, "
                f"{end - position} were asked for."
            )
        return response

    def _receive(self, response: HTTPResponse, view: memoryview) -> int:
        """Bytes into the view; a body that ends early ends without an error, so every byte is counted."""
        try:
            got = response.readinto(view)
        except (OSError, HTTPException, ValueError) as error:
            raise Broken(f"connection lost in a body ({type(error).__name__})") from None
        if not got:
            raise Broken("the daemon ended a body early")
        return got

    def _lost(self, generation: int, error: Exception, attempts: Attempts) -> None:
        self.close()
        self.resumes += 1
        if isinstance(error, TicketGone):
            attempts.gone(generation, error)
        else:
            attempts.failed(error)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._session.hang_up(connection)


class Target:
    """A disk that is written. `size` is the disk's size in bytes."""

    def __init__(self, session: TransferSession, size: int) -> None:
        self._session = session
        self.size = size

    def open(self) -> Writer:
        return Writer(self._session)

    def open_reader(self) -> Reader:
        return Reader(self._session, self.size)

    def extents(self, context: str) -> Iterator[Extent]:
        """What it holds now, like those of a source."""
        return Source(self._session, self.size).extents(context)

    @property
    def max_writers(self) -> int:
        """How many connections the daemon wants to write at once."""
        return self._session.features.max_writers

    def export_size(self) -> int:
        """The size of what the daemon exports: a raw volume on a block domain is larger than its disk."""
        return export_size(self._session)

    def checksum(self, algorithm: str, block_size: int) -> str | None:
        """The daemon's hash of block hashes over the whole export, in hex; None where it offers none."""
        if "checksum" not in self._session.features.names:
            return None
        query = f"/checksum?algorithm={algorithm}&block_size={block_size}"
        try:
            reply = self._session.persist(
                lambda connection: connection.answer(connection.send("GET", query, timeout=SLOW_TIMEOUT))
            )
        except Refused:
            return None
        return answers.checksum(reply, self._session.name)

    def close(self) -> None:
        """Cut every connection."""
        self._session.close()


class Writer:
    """One connection that writes. Not shared between threads.

    Every request may be repeated after a cut: it puts the same bytes in the same place.
    """

    def __init__(self, session: TransferSession) -> None:
        self.resumes = 0
        self.bytes_written = 0
        self._session = session
        self._connection: ImageioConnection | None = None

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write the views one after the other from `offset` on, in one request; not flushed."""
        length = sum(view.nbytes for view in views)
        if not length:
            return
        headers = {"Content-Range": f"bytes {offset}-{offset + length - 1}/*"}
        self._do("PUT", "?flush=n", headers, views)
        self.bytes_written += length

    def zero(self, offset: int, length: int) -> None:
        while length > 0:
            step = min(length, _MAX_ZERO)
            self._patch({"op": "zero", "offset": offset, "size": step, "flush": False})
            offset += step
            length -= step

    def flush(self) -> None:
        self._patch({"op": "flush"})

    def _patch(self, body: dict[str, Any]) -> None:
        data = memoryview(json.dumps(body).encode())
        self._do("PATCH", "", {"Content-Type": "application/json"}, [data], timeout=SLOW_TIMEOUT)

    def _do(
        self,
        method: str,
        resource: str,
        headers: dict[str, str],
        body: Sequence[memoryview],
        timeout: float = DATA_TIMEOUT,
    ) -> None:
        attempts = Attempts(self._session)
        while True:
            generation = self._session.generation
            used = False
            try:
                if self._connection is None:
                    self._connection = self._session.dial()
                used = self._connection.used
                response = self._connection.send(
                    method, resource, headers=headers, body=body, timeout=timeout
                )
                self._connection.drain(response)
                attempts.progress()
                return
            except (OSError, HTTPException, Broken) as error:
                self.close()
                if not used:
                    self.resumes += 1
                    attempts.failed(error)
            except TicketGone as error:
                self.close()
                self.resumes += 1
                attempts.gone(generation, error)
            except Refused as error:
                raise attempts.refused(error) from None

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._session.hang_up(connection)


def export_size(session: TransferSession) -> int:
    """Length in bytes of what the daemon exports, as its last extent tells; a disk in it may be shorter."""

    def last_end(connection: ImageioConnection) -> int:
        return max((extent.end for extent in _extents(connection, session.name)), default=0)

    size = session.persist(last_end)
    if not size:
        raise TransferFailed(f"The daemon offers nothing of {session.name}.")
    return size


def _extents(connection: ImageioConnection, name: str, query: str = "") -> Iterator[Extent]:
    """The daemon's list of extents; `Broken` when it breaks off."""
    response = connection.send("GET", f"/extents{query}", timeout=SLOW_TIMEOUT)
    connection.hurry()  # the daemon has the whole list before it sends any of it
    try:
        yield from answers.extents(response.read, name)
    except answers.BrokeOff as error:
        raise Broken(str(error)) from None
    except (OSError, HTTPException) as error:
        raise Broken(f"connection lost in the list of extents ({type(error).__name__})") from None
