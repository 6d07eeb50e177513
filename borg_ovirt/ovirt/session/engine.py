"""A session with the engine: one login, a connection per thread, patience with its restarts."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from borg_ovirt import stopping
from borg_ovirt.errors import CertificateError, EngineRefused, EngineUnreachable, UsageError
from borg_ovirt.ovirt.session import sso
from borg_ovirt.ovirt.session.address import split
from borg_ovirt.ovirt.session.certificate import tls_context
from borg_ovirt.ovirt.session.connection import connection_class
from borg_ovirt.ovirt.session.faults import (
    Ill,
    NotFound,
    Unclear,
    Verdict,
    classify,
    nonsense,
    raised_in_reader,
)
from borg_ovirt.ovirt.session.health import Health
from borg_ovirt.ovirt.session.proxy import Proxy, proxy_of
from borg_ovirt.ovirt.session.sense import Nonsense, check_parts
from borg_ovirt.ovirt.session.trouble import Locked, Trouble
from borg_ovirt.ovirt.session.waiting import Patience

T = TypeVar("T")
API = "/ovirt-engine/api"
_LONGEST_CORRELATION = 36
"""The engine cuts the rest off, and drops what is not of [0-9a-zA-Z_-]."""


@dataclass(frozen=True)
class EngineAccess:
    """Where the engine is and who asks. The password never shows in `repr`."""

    url: str
    username: str
    password: str = field(repr=False)
    ca_file: Path | None = None
    ca_pem: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    """Limit of one request, in seconds."""

    @property
    def api_url(self) -> str:
        """The URL of the REST API, whether or not its path was given."""
        try:
            parts = split(self.url if "://" in self.url else f"https://{self.url}")
        except ValueError as error:
            raise UsageError(f"{self.url} is no address of an engine: {error}.") from None
        if parts.scheme not in ("http", "https"):
            raise UsageError(f"{self.url} is no address of an engine: it does not begin with https://.")
        path = parts.path.rstrip("/")
        if path in ("", "/ovirt-engine"):
            path = API
        return f"{parts.scheme}://{parts.netloc}{path}"

    @property
    def host(self) -> str:
        return urlsplit(self.api_url).hostname or ""


def new_run_id() -> str:
    """What marks one run in journals, the engine and everything it tells."""
    return uuid.uuid4().hex[:12]


class Engine:
    """The engine, logged in. Use as a context manager; `call` may be used from any thread."""

    version: tuple[int, int, int] = (0, 0, 0)
    full_version: str = ""
    instance_id: str = ""
    proxy: Proxy | None = None
    """What the environment puts between this machine and the engine."""
    use_sockets: bool = True
    """Data moves over the unix socket of a daemon on this host where there is one."""

    @property
    def identity(self) -> tuple[str, str]:
        """Its own id, and its host: what tells its VMs from another engine's of the same ids."""
        return self.instance_id, self.host

    def __init__(
        self, access: EngineAccess, *, patience: Patience | None = None, run_id: str | None = None
    ) -> None:
        self.access = access
        self.host = access.host
        self._patience = patience or Patience()
        self._hurry = threading.local()
        self.health = Health(access.api_url, None)
        self.run_id = run_id or new_run_id()
        """Of what this session is for; the journal of a run bears the same."""
        self.correlation = f"borg-ovirt-{self.run_id}"[:_LONGEST_CORRELATION]
        """What the engine's log, jobs and events know our requests by."""
        self._headers = {"Correlation-Id": self.correlation}
        self._ca_file: str | None = None
        self._ca_made = False
        self._token: str | None = None
        self._login_lock = threading.Lock()
        self._local = threading.local()
        self._connections: list[Any] = []

    @property
    def patience(self) -> Patience:
        """How long is waited for what."""
        hurried: Patience = getattr(self._hurry, "patience", self._patience)
        return hurried

    @patience.setter
    def patience(self, patience: Patience) -> None:
        self._patience = patience

    @contextmanager
    def hurried(self, patience: Patience) -> Iterator[None]:
        """Another patience for what this thread does within the context; other threads keep theirs."""
        self._hurry.patience = patience
        try:
            yield
        finally:
            del self._hurry.patience

    # -- the session ---------------------------------------------------------------------------------

    def __enter__(self) -> Engine:
        self.proxy = proxy_of(self.access.api_url)
        self._ca_file = self._find_ca()
        try:
            tls_context(self._ca_file)  # a file without a certificate is told as such
            self.health = Health(self.access.api_url, self._ca_file)
            self._token = self.renew_token(None)
            self._greet()
            self.health.learn()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Log out and let go of every connection."""
        with self._login_lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close(logout=False)
        self._local = threading.local()
        if self._token:
            sso.log_out(self.access.api_url, self._token, self._ca_file, self.access.timeout)
            self._token = None
        if self._ca_made and self._ca_file:
            Path(self._ca_file).unlink(missing_ok=True)
            self._ca_made = False

    @property
    def ca_file(self) -> str | None:
        """The CA that signs the engine's and the hosts' certificates; None for the system's store."""
        return self._ca_file

    def _find_ca(self) -> str | None:
        if self.access.ca_pem:
            handle, name = tempfile.mkstemp(prefix="borg-ovirt-ca-", suffix=".pem")
            with os.fdopen(handle, "w") as out:
                out.write(self.access.ca_pem)
            self._ca_made = True
            return name
        if self.access.ca_file is None:
            return None
        if not self.access.ca_file.is_file():
            raise CertificateError(
                f"The CA file {self.access.ca_file} does not exist.", "Fetch the engine's CA certificate."
            )
        return str(self.access.ca_file)

    def renew_token(self, stale: str | None) -> str:
        """A token other than `stale`; threads that lost the same token log in once between them."""
        with self._login_lock:
            if self._token is None or self._token == stale:
                access = self.access
                self._token = sso.log_in(
                    access.api_url, access.username, access.password, self._ca_file, access.timeout
                )
            return self._token

    def _greet(self) -> None:
        info = self.call("read the engine's version", lambda system: system.get()).product_info
        version = info.version if info else None
        if version is not None:
            self.version = (version.major or 0, version.minor or 0, version.build or 0)
            self.full_version = version.full_version or ".".join(map(str, self.version))
        self.instance_id = (getattr(info, "instance_id", None) or self.host) if info else self.host

    # -- requests ------------------------------------------------------------------------------------

    def call(
        self, what: str, request: Callable[[Any], T], *, once: bool = False, wait_for_locks: float = 0.0
    ) -> T:
        """Make a request: `request` gets the SDK's system service; `what` completes "Cannot ...".

        An engine that is away is asked again until it is back, while `patience.engine` lasts since its last
        sign of life. With `once` a request is not repeated when the engine may have carried it out; then
        `Unclear` is raised and the caller looks. `wait_for_locks`: for how many seconds a refusal because of
        somebody else's lock is asked again. `NotFound` is told only by an engine that is well.
        """
        trouble = Trouble(self.patience, self.health)
        locked = Locked(wait_for_locks)
        doubted = False
        try:
            for pause in self.patience.pauses():
                verdict = self._try(what, request)
                if not isinstance(verdict, _Failed):
                    return verdict
                error = verdict.error
                if verdict.passing:
                    trouble.met(verdict)
                    if verdict.reached and once:
                        raise Unclear(error.message, error.hint)
                    if trouble.lasts_too_long(pause):
                        raise trouble.final(error)
                elif isinstance(error, NotFound) and not (doubted or error.detail):
                    # While it stops, the engine finds nothing at all.
                    doubted = self.health.is_well()
                    if not doubted:
                        trouble.met(_Failed(error, Ill.AWAY, False))
                        if trouble.lasts_too_long(pause):
                            raise trouble.final(EngineUnreachable(error.message))
                elif not locked.may_pass(error, pause):
                    raise error
                stopping.pause(pause)
        finally:
            trouble.over()
        raise AssertionError("pauses never end")

    def _try(self, what: str, request: Callable[[Any], T]) -> T | _Failed:
        connection = None
        try:
            connection = self._connection()
            connection.last_status, connection.endless = 0, False
            result = request(connection.system_service())
            check_parts(result)
            return result
        except EngineUnreachable as error:  # from logging in again: the request itself was not accepted
            return _Failed(error, Ill.AWAY, False)
        except (ConnectionError, TimeoutError) as error:
            self._drop(connection)
            return _Failed(EngineUnreachable(f"Cannot {what}: {error}"), Ill.AWAY, True)
        except EngineRefused as error:  # from logging in again
            if not self.full_version:
                raise
            return _Failed(EngineUnreachable(error.message), Ill.AWAY, False)
        except Exception as error:
            verdict = self._classify(error, what, connection)
            if verdict is None:
                raise
            if verdict.passing:
                self._drop(connection)
            return _Failed(*verdict)
        except BaseException:
            # An interrupted request would be finished by the next one on this connection, behind our back.
            self._drop(connection)
            raise

    def _classify(self, error: Exception, what: str, connection: Any) -> Verdict | None:
        import ovirtsdk4

        if connection is not None and connection.endless:
            return nonsense("it has no end", what, self.host)
        if isinstance(error, Nonsense) or raised_in_reader(error):
            return nonsense(" ".join(str(error).split())[:200], what, self.host)
        if not isinstance(error, ovirtsdk4.Error | TypeError) and type(error).__module__ != "pycurl":
            return None
        if connection is None:
            return classify(error, what, 0, self.host, proxy=self.proxy)
        return classify(
            error,
            what,
            connection.last_status,
            self.host,
            proxy=self.proxy,
            page=connection.last_page,
            reads=connection.asked[0] == "GET",
        )

    def _connection(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = connection_class()(self)
            self._local.connection = connection
            with self._login_lock:
                self._connections.append(connection)
        return connection

    def _drop(self, connection: Any) -> None:
        if connection is None:
            return
        self._local.connection = None
        with self._login_lock:
            if connection in self._connections:
                self._connections.remove(connection)
        connection.close(logout=False)

    def connection_settings(self) -> dict[str, Any]:
        """What the SDK's connection needs to know."""
        access = self.access
        return {
            "url": access.api_url,
            "username": access.username,
            "password": access.password,
            "token": self._token,
            "ca_file": self._ca_file,
            "timeout": int(access.timeout),
            "headers": dict(self._headers),
        }


class _Failed(Verdict):
    """A request that failed; kept apart from anything a request may return."""

    __slots__ = ()


def types() -> Any:
    """The SDK's types; loaded when first used, for `--help` does without them."""
    import ovirtsdk4.types

    return ovirtsdk4.types
