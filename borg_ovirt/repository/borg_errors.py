"""Each way Borg can fail, told in one line of ours: what happened, to which repository, what to do next."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from traceback import walk_tb

from borg import locking
from borg import remote as rpc
from borg.archive import Archive
from borg.cache import Cache
from borg.crypto import key as keys
from borg.crypto.file_integrity import FileIntegrityError
from borg.crypto.low_level import IntegrityError
from borg.helpers import (
    ErrorBase,
    MandatoryFeatureUnsupported,
    NoManifestError,
    get_cache_dir,
    get_config_dir,
)
from borg.helpers.msgpack import UnpackException
from borg.repository import Repository

from borg_ovirt.errors import (
    ArchiveNotFound,
    BorgOvirtError,
    RepositoryDamaged,
    RepositoryError,
    RepositoryLocked,
    RepositoryNotFound,
    WrongPassphrase,
)
from borg_ovirt.repository.borg_console import last_words
from borg_ovirt.repository.borg_lock import holder

_OURS = __name__.split(".")[0]
_LONGEST = 300
"""Characters of Borg's words that are shown."""
_CHECK = "Run `borg check` on it, and `borg check --repair` if that finds faults."
_SPACE = (
    "Make some room there first: `borg-ovirt prune` and `borg compact` need a little, too. "
    "`borg extract --bypass-lock` reads a full repository."
)
_LITTLE = 1 << 20
"""Bytes; with less than that of room a file system is full."""
_PASSPHRASE = "Set BORG_PASSPHRASE, BORG_PASSCOMMAND or BORG_PASSPHRASE_FD."
_OTHER_END = "Is BorgBackup 1.4 installed on the server, and BORG_REMOTE_PATH right?"


@contextmanager
def translate_errors(location: str) -> Iterator[None]:
    """Turn what Borg raises inside into errors of ours about the repository at `location`."""
    try:
        yield
    except BorgOvirtError:
        raise
    except Exception as error:
        ours = translate(error, location)
        if ours is None:
            raise
        raise ours from error


def translate(error: Exception, where: str) -> BorgOvirtError | None:
    """Our error for one of Borg's or the system's; None for what is neither, which is a fault of ours.

    Here what lies in a repository and in Borg's cache of it becomes ours: whatever Borg raises over it, a
    `KeyError` or a parser's error included, is told as its own. Raises `MemoryError` where memory was short.
    """
    if _out_of_memory(error):  # Borg calls a chunk that it had no room to unpack damaged
        raise MemoryError from error
    for kind, tell in _TABLE:
        if isinstance(error, kind):
            return tell(error, where)
    if isinstance(error, ErrorBase):
        return RepositoryError(f"Borg failed on {where}: {_one_line(error)}.")
    if isinstance(error, rpc.RemoteRepository.RPCError):
        return _remote(error, where)
    if isinstance(error, OSError):
        return _system(error, where)
    if module := _module_of_borg(error):  # the bare class in places; else it stumbled over what it had read
        bare = type(error) is Exception
        name = "" if bare else f"{type(error).__name__}: "
        return (RepositoryError if bare or module == "borg.cache" else RepositoryDamaged)(
            f"Borg cannot make sense of what it read in {where}, or in its cache of it: {name}"
            f"{_one_line(error)[:_LONGEST]}.",
            f"{_CHECK} A cache is made anew after `borg delete --cache-only {where}`.",
        )
    return None


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, IntegrityError) and MemoryError.__name__ in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _module_of_borg(error: Exception) -> str:
    """The innermost module of Borg's that the error comes out of; empty where it comes out of ours."""
    innermost = ""
    for frame, _ in walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", ""))
        if name.split(".")[0] in ("borg", _OURS):
            innermost = name
    if innermost.startswith("borg."):
        return innermost
    return "borg" if type(error) is Exception else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".?") or type(error).__name__


def _not_found(_: Exception, where: str) -> BorgOvirtError:
    return RepositoryNotFound(
        f"There is no Borg repository at {where}.", f"Make one: `borg init --encryption repokey {where}`."
    )


def _invalid(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryNotFound(f"What lies at {where} is no Borg 1.4 repository: {_one_line(error)}.")


def _locked(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryLocked(
        f"The repository {where} is used by {holder(where) or 'another Borg'} ({_one_line(error)}).",
        "Let it finish or wait for it with --lock-wait; `borg break-lock` only when no Borg runs anywhere.",
    )


def _lock_failed(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(
        f"Cannot lock the repository {where}: {_one_line(error)}.", "Check that the directory is writable."
    )


def _no_passphrase(_: Exception, where: str) -> BorgOvirtError:
    return WrongPassphrase(f"The repository {where} needs a passphrase and none was given.", _PASSPHRASE)


def _wrong_passphrase(_: Exception, where: str) -> BorgOvirtError:
    return WrongPassphrase(
        f"The passphrase does not open the key of the repository {where}.",
        "Check BORG_PASSPHRASE, BORG_PASSCOMMAND or BORG_PASSPHRASE_FD.",
    )


def _passcommand(error: Exception, where: str) -> BorgOvirtError:
    cause = error.args[0] if error.args else None
    # The command itself may hold a secret, so only how it ended is told.
    how = (
        f"exit status {cause.returncode}" if isinstance(cause, subprocess.CalledProcessError) else "not found"
    )
    return WrongPassphrase(
        f"The command in BORG_PASSCOMMAND failed ({how}); {where} stays closed.", "Run it by hand."
    )


def _no_key(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(
        f"The key of the repository {where} is missing or broken: {_one_line(error)}.",
        "Bring it back with `borg key import`; BORG_KEY_FILE and BORG_KEYS_DIR tell where key files lie.",
    )


def _unknown_plain(_: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(
        f"The repository {where} is not encrypted and was never used from here.",
        "If that is right, set BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes for this one time.",
    )


def _relocated(_: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(
        f"The repository {where} was at another place when it was last used from here.",
        "If it was moved, set BORG_RELOCATED_REPO_ACCESS_IS_OK=yes for this one time.",
    )


def _connection(error: Exception, where: str) -> BorgOvirtError:
    why = last_words().rstrip(".") or _one_line(error)
    return RepositoryError(f"The connection to {where} failed: {why}.", _OTHER_END)


def _version(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(f"The server of {where} speaks another Borg: {_one_line(error)}.", _OTHER_END)


def _forbidden(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(
        f"The server does not allow access to {where}: {_one_line(error)}.",
        "See the --restrict-to options of its `borg serve`.",
    )


def _no_space(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(f"No space left for the repository {where}: {_one_line(error)}.", _SPACE)


def _damaged(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryDamaged(f"The repository {where} is damaged: {_one_line(error)}.", _CHECK)


def _newer(error: Exception, where: str) -> BorgOvirtError:
    return RepositoryError(f"The repository {where} needs a newer Borg: {_one_line(error)}.")


def _no_archive(error: Exception, where: str) -> BorgOvirtError:
    return ArchiveNotFound(f"The repository {where} has no archive {error.args[0] if error.args else ''}.")


def _remote(error: Exception, where: str) -> BorgOvirtError:
    try:
        kind, told_ = error.exception_class, str(error.get_message())  # type: ignore[attr-defined]
    except (KeyError, TypeError, ValueError, AttributeError):  # what the server says of it is its own
        return RepositoryError(f"The server of {where} failed, and its words make no sense.", _OTHER_END)
    told_ = " ".join(told_.split()).rstrip(".")[:_LONGEST]
    if "No space left" in told_ or "Disk quota exceeded" in told_:
        return RepositoryError(f"No space left for the repository {where}: {told_}.", _SPACE)
    if kind == FileNotFoundError.__name__:
        return RepositoryDamaged(f"The repository {where} is damaged: a file of it is lost.", _CHECK)
    return RepositoryError(f"The server of {where} failed: {told_}.")


def _system(error: OSError, where: str) -> BorgOvirtError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        full = " and ".join(_full(where))
        told = f" {full} has none" if full else f" {_one_line(error)}"
        return RepositoryError(f"No space left for the repository {where} or Borg's cache:{told}.", _SPACE)
    if error.errno in (errno.ENOENT, errno.EIO) and _is_below(error.filename, where):
        return RepositoryDamaged(f"The repository {where} is damaged: {_one_line(error)}.", _CHECK)
    if error.errno == errno.ENOENT and _lies_in(error.filename, where):
        return RepositoryError(
            f"The repository {where} is not there any more: {_one_line(error)}.",
            "Was it moved, removed or unmounted meanwhile?",
        )
    return RepositoryError(f"The system refused access to {where} or Borg's cache: {_one_line(error)}.")


def _full(where: str) -> Iterator[str]:
    """The places without room; the system does not say which of them it was."""
    for find in (lambda: where, get_cache_dir, get_config_dir):
        with suppress(OSError, ErrorBase):
            place = find()
            room = os.statvfs(place)
            if room.f_bavail * room.f_frsize < _LITTLE:
                yield place


def _lies_in(path: object, where: str) -> bool:
    """Whether it is a file of the repository, which Borg names in full, however that was typed."""
    return str(path).startswith(f"{os.path.abspath(where)}/")


def _is_below(path: object, where: str) -> bool:
    """Whether a file of a repository that is there is meant, and not all of it, as after an unmount."""
    return _lies_in(path, where) and os.path.exists(f"{where}/config")


_Teller = Callable[[Exception, str], BorgOvirtError]

_TABLE: tuple[tuple[type[Exception] | tuple[type[Exception], ...], _Teller], ...] = (
    (Repository.DoesNotExist, _not_found),
    ((Repository.InvalidRepository, Repository.AtticRepository, NoManifestError), _invalid),
    (locking.LockTimeout, _locked),
    (locking.LockErrorT, _lock_failed),
    (keys.NoPassphraseFailure, _no_passphrase),
    ((keys.PassphraseWrong, keys.PasswordRetriesExceeded), _wrong_passphrase),
    (keys.PasscommandFailure, _passcommand),
    (
        (
            keys.KeyfileNotFoundError,
            keys.KeyfileInvalidError,
            keys.KeyfileMismatchError,
            keys.RepoKeyNotFoundError,
        ),
        _no_key,
    ),
    (Cache.CacheInitAbortedError, _unknown_plain),
    (Cache.RepositoryAccessAborted, _relocated),
    ((rpc.ConnectionClosed, rpc.ConnectionBrokenWithHint), _connection),
    (
        (
            rpc.RemoteRepository.RPCServerOutdated,
            rpc.InvalidRPCMethod,
            rpc.UnexpectedRPCDataFormatFromServer,
        ),
        _version,
    ),
    (rpc.PathNotAllowed, _forbidden),
    ((Repository.InsufficientFreeSpaceError, Repository.StorageQuotaExceeded), _no_space),
    (
        (keys.UnsupportedPayloadError, keys.UnsupportedManifestError, MandatoryFeatureUnsupported),
        _newer,
    ),
    (Archive.DoesNotExist, _no_archive),
    (
        (
            Repository.ObjectNotFound,
            Repository.CheckNeeded,
            IntegrityError,
            FileIntegrityError,
            UnpackException,
        ),
        _damaged,
    ),
)
