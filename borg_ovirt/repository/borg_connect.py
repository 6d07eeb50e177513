"""Opens a Borg 1.4 repository as `borg create` or `borg list` would, local or over `borg serve`."""

from __future__ import annotations

import logging
import os
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from borg.cache import Cache, assert_secure
from borg.compress import CompressionSpec
from borg.helpers import Error as BorgError
from borg.helpers import IntegrityError, Location, Manifest, check_extension_modules, is_supported_msgpack
from borg.locking import LockFailed, LockTimeout
from borg.remote import RemoteRepository
from borg.repository import Repository as LocalRepository

from borg_ovirt.errors import BorgOvirtError, RepositoryError, RepositoryLocked, UsageError
from borg_ovirt.repository import borg_console
from borg_ovirt.repository.borg_errors import translate_errors
from borg_ovirt.repository.borg_lock import holder
from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.borg_unlocked import UnlockedRepository
from borg_ovirt.repository.borg_unlocked import assert_secure as assert_secure_unlocked
from borg_ovirt.units import format_duration

_log = logging.getLogger(__name__)
_QUIET = 1.0
"""Seconds that nobody is told that a lock is waited for."""
_SLICE = 10.0
"""Seconds of one attempt to have a lock."""

log = logging.getLogger(__name__)


class _Served(RemoteRepository):  # type: ignore[misc]  # Borg is not typed
    """A repository behind ssh whose last words are heard: Borg stops listening when the connection ends."""

    def close(self) -> None:
        process = self.p
        super().close()
        if process:
            with process.stderr as stderr:
                rest = self.stderr_received + (stderr.read() or b"")
            borg_console.hear(rest.decode("utf-8", "replace"))


class _Bypassing(_Served):
    """One that is read without its lock: what somebody compacts away meanwhile is no damage."""

    def get_many(self, ids: Any, is_preloaded: bool = False) -> Iterator[bytes]:
        try:
            yield from super().get_many(ids, is_preloaded)
        except (self.RPCError, LocalRepository.ObjectNotFound, IntegrityError) as error:
            raise RepositoryError(
                f"A chunk cannot be read from {self.location.canonical_path()}, which is read without its "
                f"lock: archives may have been removed meanwhile ({' '.join(str(error).split())}).",
                "Run the command again, when nobody else uses the repository if it stays so.",
            ) from error


@dataclass(frozen=True)
class Access:
    """How to open: the options of stock Borg. Where one is None, its BORG_* variable counts."""

    write: bool
    lock_wait: float = 1.0
    compression: str = "lz4"
    remote_path: str | None = None
    rsh: str | None = None
    umask: int = 0o077
    upload_limit: int = 0
    """KiB/s over `borg serve`; 0 for no limit."""
    bypass_lock: bool = False
    """Over `borg serve`, read without the lock where another has it."""
    glance: bool = False
    """Without lock and questions, and nothing is remembered of it: for names alone, on this machine."""


def connect(text: str, access: Access, stack: ExitStack) -> Session:
    """Open the repository at the location and leave its closing to the stack."""
    location = _location(text)
    where: str = location.canonical_path()
    if access.glance and location.proto == "ssh":
        raise RepositoryError(f"{where} is not on this machine.")
    compression = _compression(access.compression)
    borg_console.set_up()
    with translate_errors(where):
        check_extension_modules()
        if not is_supported_msgpack():
            raise RepositoryError("The msgpack library is not one that Borg works with.", "Reinstall Borg.")
        warnings = stack.enter_context(borg_console.Warnings())
        stack.enter_context(_umask(access.umask))
        repository = _opened(location, where, access, stack)
        with borg_console.no_questions_without_a_terminal():
            manifest, key = Manifest.load(repository, (_operation(access),))
            key.compressor = compression.compressor
            cache = None
            if access.write:
                cache = stack.enter_context(_cache(where, repository, key, manifest, access.lock_wait))
            elif access.glance:
                pass
            elif isinstance(repository, UnlockedRepository | _Bypassing):
                assert_secure_unlocked(repository, manifest)
            else:
                assert_secure(repository, manifest, access.lock_wait)
    return Session(where, repository, manifest, key, cache, compression, warnings)


def _opened(location: Any, where: str, access: Access, stack: ExitStack) -> Any:
    """The repository with its lock. Reading one goes without where that cannot be had: on this machine, or if
    `bypass_lock` says so."""
    wait = access.lock_wait
    if access.glance:
        return _entered(UnlockedRepository(location.path), stack)
    try:
        return _entered(_repository(location, access, min(wait, _QUIET)), stack)
    except (LockTimeout, LockFailed) as error:
        local = location.proto != "ssh"
        unlocked = not access.write and (local or access.bypass_lock)
        if isinstance(error, LockFailed) and not unlocked:
            raise
        if not unlocked:
            if wait <= _QUIET and not access.write:
                raise RepositoryLocked(
                    f"The repository {where} is used by another Borg; behind ssh, reading needs its lock.",
                    "Wait with --lock-wait, or read it without with --bypass-lock (see docs/operating.md).",
                ) from error
            if wait <= _QUIET:
                raise
            who = holder(where) or "another Borg"
            span = format_duration(wait)
            _log.warning("The repository %s is used by %s; waiting for it, up to %s.", where, who, span)
            return _waited_for(location, access, stack)
        _log.info("Reading %s without its lock: what was committed when it was opened.", where)
        if local:
            return _entered(UnlockedRepository(location.path), stack)
        return _entered(_repository(location, access, 0.0, lock=False), stack)


def _waited_for(location: Any, access: Access, stack: ExitStack) -> Any:
    """The repository when its lock is free. In slices: Borg looks ten times in all."""
    until = time.monotonic() + access.lock_wait - _QUIET
    while True:
        left = until - time.monotonic()
        try:
            return _entered(_repository(location, access, min(max(left, 0.0), _SLICE)), stack)
        except LockTimeout:
            if left <= _SLICE:
                raise


def _entered(repository: Any, stack: ExitStack) -> Any:
    """Open it; where that fails half-way let its lock go, which Borg leaves to the collection of garbage.

    The same when it cannot be closed, as after somebody moved it: Borg would print a traceback of that later.
    """
    stack.callback(setattr, repository, "lock", None)
    try:
        return stack.enter_context(repository)
    except BaseException:
        with suppress(Exception):
            repository.close()
        repository.lock = None
        raise


def _location(text: str) -> Any:
    try:
        location = Location(text)
    except (ValueError, BorgError) as error:
        raise UsageError(
            f"{text!r} is no location of a Borg repository: {error}" if text else "No repository was named.",
            "Write a path or ssh://USER@HOST/PATH, or set BORG_REPO.",
        ) from None
    if location.archive:
        raise UsageError(f"{text!r} names an archive where a repository is wanted.")
    return location


def _compression(text: str) -> Any:
    try:
        return CompressionSpec(text)
    except (ValueError, ArgumentTypeError) as error:
        raise UsageError(
            f"{text!r} is no compression that Borg knows ({error}).",
            "Examples: none, lz4, zstd,3, zlib,6, lzma,6, auto,zstd,10.",
        ) from None


def _operation(access: Access) -> Any:
    return Manifest.Operation.WRITE if access.write else Manifest.Operation.READ


def _repository(location: Any, access: Access, lock_wait: float, *, lock: bool = True) -> Any:
    if location.proto != "ssh":
        return LocalRepository(location.path, exclusive=access.write, lock_wait=lock_wait)
    options = Namespace(
        remote_path=access.remote_path,
        rsh=access.rsh,
        upload_ratelimit=access.upload_limit,
        upload_buffer=0,
        debug_topics=[],
        storage_quota=None,
    )
    try:
        return (_Served if lock else _Bypassing)(
            location.omit_archive(),
            exclusive=access.write,
            lock_wait=lock_wait,
            lock=lock,
            args=options,
        )
    except FileNotFoundError as error:
        raise RepositoryError(
            f"Cannot run {error.filename!r} to reach {location.canonical_path()}.",
            "Install an SSH client or set BORG_RSH.",
        ) from error


def _cache(where: str, repository: Any, key: Any, manifest: Any, lock_wait: float) -> Any:
    try:
        return Cache(repository, key, manifest, lock_wait=min(lock_wait, _SLICE))  # a stale lock at most
    except ValueError as error:
        raise RepositoryError(
            f"Borg's cache of the repository {where} cannot be read: {error}.",
            f"Remove it with `borg delete --cache-only {where}`; it is made again.",
        ) from error


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def close(stack: ExitStack, where: str, failed: BaseException | None, *, written: bool) -> None:
    """Close what `connect` opened. After a failure Borg rolls back; faults in that do not hide the first.

    What was only read was read: that its lock cannot be taken away any more is no failure of whoever read it.
    """
    try:
        with translate_errors(where):
            if failed is None:
                stack.close()
            else:
                stack.__exit__(type(failed), failed, failed.__traceback__)
    except BorgOvirtError as error:
        if failed is None and written:
            raise
        if failed is None:
            log.warning("the repository cannot be closed: %s", error)
