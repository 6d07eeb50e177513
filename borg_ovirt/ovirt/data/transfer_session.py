"""The right to move one transfer's bytes: its addresses, its connections (eight at most), its renewal."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from borg_ovirt.errors import TransferFailed
from borg_ovirt.ovirt.data import answers
from borg_ovirt.ovirt.data.answers import Features
from borg_ovirt.ovirt.data.imageio_connection import (
    CONNECT_TIMEOUT,
    Address,
    Broken,
    ImageioConnection,
    Refused,
    TicketGone,
    Untrusted,
)
from borg_ovirt.ovirt.session.certificate import certificate_error, tls_context

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_CONNECTIONS = 8
"""In all, for one transfer: qemu-nbd serves eight clients and lets the ninth hang."""
_STRIKES = 5
"""Failures to connect in a row after which an address that worked before is given up for the next one."""


class Urls(NamedTuple):
    """Where the engine says the data is. Both hold the ticket: never printed."""

    direct: str | None
    proxy: str | None

    def __repr__(self) -> str:
        return "Urls(...)"


@dataclass(frozen=True)
class Persistence:
    """How stubbornly a broken connection is taken up again."""

    attempts: int = 11
    """Attempts in a row without one byte of progress."""
    first: float = 0.1
    most: float = 15.0

    def pause(self, attempt: int) -> float:
        return float(min(self.first * 2**attempt, self.most))


class TransferSession:
    """A ticket in use. Thread-safe."""

    def __init__(
        self,
        name: str,
        urls: Urls,
        *,
        ca_file: str | None,
        renew: Callable[[], Urls] | None = None,
        persistence: Persistence | None = None,
        use_socket: bool = True,
    ) -> None:
        self.name = name
        """What is moved, for messages: "disk web01_Disk1"."""
        self.persistence = persistence or Persistence()
        self.features = Features(frozenset(), 1, 1)
        self.server = ""
        """What the daemon calls itself: its name and version."""
        self.renewals = 0
        self._urls = urls
        self._renew = renew
        self._use_socket = use_socket
        self._tls = tls_context(ca_file)
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._wires: set[ImageioConnection] = set()
        self._addresses: list[Address] = []
        self._generation = 0
        self._opened = False
        self._strikes = 0
        self._closed = False
        self._last_used = time.monotonic()

    # -- opening -------------------------------------------------------------------------------------

    def open(self) -> Features:
        """Prove the ticket and choose the way: a unix socket of this host, the host, the engine's proxy."""
        self._addresses = self._candidates()
        self.features = self.persist(lambda connection: self._options(connection))
        self._opened = True
        return self.features

    @property
    def method(self) -> str:
        """The address in use: "direct host:port", "proxy host:port" or the unix socket."""
        first = self._addresses[0] if self._addresses else None
        return f"{first.kind} {first}" if first and not first.socket else str(first)

    def _candidates(self) -> list[Address]:
        found = []
        if self._urls.direct:
            found.append(Address.of_url("direct", self._urls.direct))
        if self._urls.proxy and self._urls.proxy != self._urls.direct:
            found.append(Address.of_url("proxy", self._urls.proxy))
        if not found:
            raise TransferFailed(f"The engine gave no address for the transfer of {self.name}.")
        return found

    def _options(self, connection: ImageioConnection) -> Features:
        response = connection.send("OPTIONS")
        found = answers.features(connection.answer(response), self.name)
        self.server = (response.headers.get("Server") or "")[:80]
        if found.socket and self._use_socket and connection.address.kind == "direct":
            self._try_socket(connection.address.over_socket(found.socket))
        return found

    def _try_socket(self, address: Address) -> None:
        """Prefer the daemon's unix socket if it is on this host and knows our ticket."""
        path = address.socket or ""
        if not path.startswith(("\0", "@")) and not os.path.exists(path):
            return
        try:
            connection = ImageioConnection(address, self._tls)
        except (Broken, Untrusted):
            return
        try:
            connection.answer(connection.send("OPTIONS", timeout=CONNECT_TIMEOUT))
        except (Broken, TicketGone, Refused):
            return  # some other daemon's socket, or one that does not know the ticket
        finally:
            connection.close()
        with self._lock:
            self._addresses = [address, *(a for a in self._addresses if a.kind != "unix")]

    # -- connections ---------------------------------------------------------------------------------

    def dial(self) -> ImageioConnection:
        """A new connection; the first address that answers. `Broken` if none does."""
        if not self._slots.acquire(timeout=CONNECT_TIMEOUT):
            raise TransferFailed(
                f"More than {MAX_CONNECTIONS} connections wanted for {self.name}.", "Use fewer readers."
            )
        try:
            connection = self._reach()
        except BaseException:
            self._slots.release()
            raise
        with self._lock:
            self._wires.add(connection)
            closed = self._closed
        if closed:
            self.hang_up(connection)
            raise TransferFailed(f"The transfer of {self.name} was closed.")
        return connection

    def _reach(self) -> ImageioConnection:
        failures: list[Exception] = []
        for address in list(self._addresses):
            try:
                connection = ImageioConnection(address, self._tls)
            except (Broken, Untrusted) as error:
                failures.append(error)
                self._strikes += 1
                if self._opened and self._strikes < _STRIKES:
                    break  # it worked before: a daemon that restarts is waited for, not left
                continue
            self._strikes = 0
            if failures:
                log.warning("%s: %s; going on through %s %s", self.name, failures[0], address.kind, address)
                with self._lock:  # what cannot be reached is asked last from now on
                    rest = [a for a in self._addresses if a is not address]
                    self._addresses = [address, *rest]
            return connection
        if failures and all(isinstance(error, Untrusted) for error in failures):
            raise certificate_error(str(self._addresses[0].host), str(failures[0]))
        raise Broken("; ".join(map(str, failures)))

    def hang_up(self, connection: ImageioConnection) -> None:
        """Close a connection and free its place."""
        with self._lock:
            known = connection in self._wires
            self._wires.discard(connection)
        connection.close()
        if known:
            self._slots.release()

    def close(self) -> None:
        """Cut every connection, also under threads that wait for bytes; no new one can be made."""
        with self._lock:
            self._closed = True
            wires = list(self._wires)
        for connection in wires:
            connection.abort()

    @property
    def closed(self) -> bool:
        return self._closed

    # -- the ticket ----------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Counts the tickets this lease has had."""
        return self._generation

    def renew(self, generation: int, why: str) -> None:
        """The ticket of `generation` is gone: get another one, once for all threads that noticed."""
        with self._renewing:
            if self._generation != generation:
                return
            if self._renew is None or self._closed:
                raise TransferFailed(f"The transfer of {self.name} ended too early: {why}.")
            log.warning("%s: %s; asking the engine", self.name, why)
            self._urls = self._renew()
            self._generation += 1
            self.renewals += 1
            with self._lock:
                self._addresses = self._candidates()

    def used(self) -> None:
        """Bytes moved: the daemon counts the ticket as busy."""
        self._last_used = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since anything was asked of the daemon."""
        return time.monotonic() - self._last_used

    def touch(self) -> None:
        """Keep a waiting ticket alive."""
        if self._closed or not self._slots.acquire(blocking=False):
            return  # every connection is in use: the ticket is not idle
        self._slots.release()
        with self.connection() as connection:
            connection.answer(connection.send("OPTIONS"))
        self.used()

    @contextmanager
    def connection(self) -> Iterator[ImageioConnection]:
        """A connection for one errand."""
        connection = self.dial()
        try:
            yield connection
        finally:
            self.hang_up(connection)

    # -- persistence ---------------------------------------------------------------------------------

    def persist(self, errand: Callable[[ImageioConnection], T]) -> T:
        """Run an errand on a connection of its own, again and again while it only breaks."""
        attempts = Attempts(self)
        while True:
            generation = self.generation
            try:
                with self.connection() as connection:
                    result = errand(connection)
                self.used()
                return result
            except Broken as error:
                attempts.failed(error)
            except TicketGone as error:
                attempts.gone(generation, error)


class Attempts:
    """Counts attempts in a row without progress and gives up after enough of them."""

    def __init__(self, session: TransferSession) -> None:
        self._session = session
        self._count = 0

    def progress(self) -> None:
        self._count = 0
        self._session.used()

    def failed(self, error: Exception) -> None:
        """Pause before the next attempt; `TransferFailed` if there have been enough."""
        session = self._session
        if session.closed:
            raise TransferFailed(f"The transfer of {session.name} was closed.") from None
        self._count += 1
        if self._count >= session.persistence.attempts:
            raise TransferFailed(
                f"The transfer of {session.name} broke: {error}; {self._count} attempts made no progress.",
                "Look at the host's imageio daemon.log and at the network between here and the host.",
            ) from None
        log.info("%s: %s; attempt %d", session.name, error, self._count + 1)
        time.sleep(session.persistence.pause(self._count - 1))

    def gone(self, generation: int, error: Exception) -> None:
        """The ticket was not accepted: get a new one, and count it as an attempt without progress."""
        self.failed(error)
        self._session.renew(generation, str(error))

    def refused(self, error: Refused) -> TransferFailed:
        return TransferFailed(f"The daemon refused a request for {self._session.name}: {error}.")
