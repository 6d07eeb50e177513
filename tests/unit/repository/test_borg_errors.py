"""Each way Borg fails has an error of ours with its own exit code; what is no failure of Borg's has none."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from borg import locking
from borg.archive import Archive
from borg.cache import Cache
from borg.crypto import key as keys
from borg.crypto.low_level import IntegrityError
from borg.helpers import Error, NoManifestError
from borg.remote import ConnectionClosed, PathNotAllowed, RemoteRepository
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
from borg_ovirt.repository.borg_errors import translate, translate_errors

WHERE = "/srv/repo"


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (Repository.DoesNotExist(WHERE), RepositoryNotFound, "borg init"),
        (Repository.InvalidRepository(WHERE), RepositoryNotFound, "no Borg 1.4 repository"),
        (NoManifestError(), RepositoryNotFound, "no Borg 1.4 repository"),
        (locking.LockTimeout(WHERE), RepositoryLocked, "--lock-wait"),
        (locking.LockErrorT(WHERE), RepositoryError, "Cannot lock"),
        (keys.NoPassphraseFailure("no"), WrongPassphrase, "none was given"),
        (keys.PassphraseWrong(), WrongPassphrase, "does not open"),
        (keys.KeyfileNotFoundError(WHERE, "/keys"), RepositoryError, "borg key import"),
        (Cache.CacheInitAbortedError(), RepositoryError, "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"),
        (Cache.RepositoryAccessAborted(), RepositoryError, "BORG_RELOCATED_REPO_ACCESS_IS_OK"),
        (ConnectionClosed(), RepositoryError, "The connection to"),
        (PathNotAllowed("/x"), RepositoryError, "does not allow"),
        (Repository.InsufficientFreeSpaceError("1", "0"), RepositoryError, "No space left"),
        (Repository.StorageQuotaExceeded("1", "2"), RepositoryError, "No space left"),
        (Archive.DoesNotExist("web01"), ArchiveNotFound, "no archive web01"),
        (Repository.ObjectNotFound(b"\1" * 32, WHERE), RepositoryDamaged, "borg check"),
        (IntegrityError("chunk"), RepositoryDamaged, "is damaged"),
        (Error("anything"), RepositoryError, "Borg failed on"),
        (Exception("bare"), RepositoryError, "cannot make sense"),
        (system(errno.ENOSPC), RepositoryError, "No space left"),
        (system(errno.EDQUOT), RepositoryError, "No space left"),
        (system(errno.EACCES), RepositoryError, "The system refused access"),
        (system(errno.EMFILE), RepositoryError, "The system refused access"),
        (FileNotFoundError(2, "No such file", f"{WHERE}/data/0"), RepositoryError, "not there any more"),
    ],
)
def test_what_borg_raises(error: Exception, kind: type[BorgOvirtError], words: str) -> None:
    ours = translate(error, WHERE)
    assert type(ours) is kind
    assert words in str(ours)
    assert WHERE in str(ours)
    assert "\n" not in str(ours)


def test_the_place_that_is_full_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("BORG_CACHE_DIR", str(cache))
    monkeypatch.setenv("BORG_CONFIG_DIR", str(tmp_path / "config"))
    real = os.statvfs
    full = SimpleNamespace(f_bavail=1, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: full if path == str(cache) else real(path))
    told = str(translate(system(errno.ENOSPC), str(tmp_path)))
    assert f"{cache} has none" in told
    assert "config has none" not in told
    assert "Errno" not in told


def test_a_passcommand_is_never_shown() -> None:
    cause = subprocess.CalledProcessError(3, ["echo", "open sesame"])
    text = str(translate(keys.PasscommandFailure(cause), WHERE))
    assert "exit status 3" in text
    assert "sesame" not in text


@pytest.mark.parametrize("error", [KeyError("id"), AttributeError("x"), AssertionError(), RuntimeError("x")])
def test_a_fault_of_ours_is_none_of_borgs(error: Exception) -> None:
    assert translate(error, WHERE) is None
    with pytest.raises(type(error)), translate_errors(WHERE):
        raise error


def test_an_error_of_ours_passes_as_it_is() -> None:
    mine = ArchiveNotFound("None.")
    with pytest.raises(ArchiveNotFound) as caught, translate_errors(WHERE):
        raise mine
    assert caught.value is mine


def test_a_file_of_the_repository_that_is_gone_is_damage_and_all_of_it_is_not(tmp_path: Path) -> None:
    segment = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{tmp_path}/data/0/7")
    assert type(translate(segment, str(tmp_path))) is RepositoryError, "unmounted"
    (tmp_path / "config").touch()
    assert type(translate(segment, str(tmp_path))) is RepositoryDamaged
    elsewhere = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/elsewhere/7")
    assert type(translate(elsewhere, str(tmp_path))) is RepositoryError


def test_a_lost_file_is_damage_however_the_repository_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/config").touch()
    monkeypatch.chdir(tmp_path)
    segment = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{tmp_path}/repo/data/0/7")
    for typed in ("repo", "./repo", f"{tmp_path}/repo/"):
        assert type(translate(segment, typed)) is RepositoryDamaged


def test_where_memory_is_short_nothing_is_called_damaged() -> None:
    """Borg says so of each chunk that it had no room to unpack."""
    for error in (IntegrityError("Decompression error: MemoryError"), OSError(errno.ENOMEM, "no memory")):
        with pytest.raises(MemoryError):
            translate(error, WHERE)


CLASS, SHORT = b"exception_class", b"exception_short"


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        (
            {CLASS: b"FileNotFoundError", SHORT: [b"x"]},
            RepositoryDamaged,
            "is lost",
        ),
        (
            {CLASS: b"OSError", SHORT: [b"No space left"]},
            RepositoryError,
            "No space",
        ),
        ({CLASS: b"ValueError", SHORT: [b"y" * 9000]}, RepositoryError, "yyy"),
        ({CLASS: b"OSError", SHORT: b"bytes"}, RepositoryError, "no sense"),
        ({CLASS: 7, SHORT: []}, RepositoryError, "no sense"),
        ({}, RepositoryError, "no sense"),
    ],
)
def test_what_a_server_raises(told: dict[bytes, object], kind: type[Exception], words: str) -> None:
    ours = translate(RemoteRepository.RPCError(told), WHERE)
    assert type(ours) is kind
    assert words in str(ours)
    assert len(str(ours)) < 600
