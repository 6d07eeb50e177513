"""Opening a repository: Borg's variables work, no question is asked, faults are told plainly."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from borg.crypto.key import KeyBase
from stock_borg import (
    BORG,
    NOON,
    PASSPHRASE,
    SYSTEM,
    MakeRepository,
    Stock,
    back_up,
    image,
    serve_locally,
)

from borg_ovirt.errors import (
    ArchiveNotFound,
    BorgOvirtError,
    RepositoryError,
    RepositoryLocked,
    RepositoryNotFound,
    UsageError,
    WrongPassphrase,
)
from borg_ovirt.repository.open import open_repository

Patch = pytest.MonkeyPatch


@contextmanager
def refused(kind: type[BorgOvirtError], *words: str) -> Iterator[None]:
    """One line that holds the words, and no secret."""
    with pytest.raises(kind) as caught:
        yield
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.message.endswith(".")
    assert PASSPHRASE not in text
    assert caught.type is kind
    for word in words:
        assert word in text


def look(location: str, *, write: bool = False, **options: object) -> set[str]:
    with open_repository(location, write=write, **options) as repository:  # type: ignore[arg-type]
        return repository.all_names()


@pytest.mark.parametrize("write", [False, True])
def test_passphrases(make_repository: MakeRepository, monkeypatch: Patch, write: bool) -> None:
    stock = make_repository("repokey")
    assert look(stock.location, write=write) == set()
    monkeypatch.setenv("BORG_PASSPHRASE", "wrong")
    with refused(WrongPassphrase, "does not open"):
        look(stock.location, write=write)
    monkeypatch.delenv("BORG_PASSPHRASE")
    with refused(WrongPassphrase, "BORG_PASSPHRASE", "BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD"):
        look(stock.location, write=write)
    monkeypatch.setenv("BORG_PASSCOMMAND", f"echo '{PASSPHRASE}'")
    assert look(stock.location, write=write) == set()
    monkeypatch.setenv("BORG_PASSCOMMAND", f"sh -c 'exit 3' '{PASSPHRASE}'")
    with refused(WrongPassphrase, "exit status 3"):
        look(stock.location, write=write)
    monkeypatch.delenv("BORG_PASSCOMMAND")
    reader, writer = os.pipe()
    os.write(writer, PASSPHRASE.encode() + b"\n")
    os.close(writer)
    monkeypatch.setenv("BORG_PASSPHRASE_FD", str(reader))
    assert look(stock.location, write=write) == set()
    assert look(stock.location, write=write) == set()  # it can be read only once, and is remembered
    monkeypatch.setenv("BORG_PASSPHRASE_FD", "912")
    with refused(WrongPassphrase, "BORG_PASSPHRASE_FD"):
        look(stock.location, write=write)


def test_no_question_reads_standard_input(make_repository: MakeRepository, monkeypatch: Patch) -> None:
    """What arrives on stdin may be a disk: a question must not eat it."""
    stock = make_repository("none")
    monkeypatch.delenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK")
    monkeypatch.setenv("BORG_BASE_DIR", f"{stock.home}.elsewhere")
    program = f"""
import sys
from borg_ovirt.repository.open import open_repository
try:
    with open_repository({stock.location!r}, write=True): pass
except Exception as error:
    print(error)
print(sys.stdin.read())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input="y\nthe rest\n", capture_output=True, text=True, check=True
    )
    assert "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK" in done.stdout
    assert done.stdout.endswith("y\nthe rest\n\n")


def test_unknown_unencrypted_and_relocated(
    make_repository: MakeRepository, monkeypatch: Patch, tmp_path: Path
) -> None:
    stock = make_repository("none")
    monkeypatch.delenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK")
    monkeypatch.setenv("BORG_BASE_DIR", str(tmp_path / "elsewhere"))
    with refused(RepositoryError, "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"):
        look(stock.location, write=True)
    monkeypatch.setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
    look(stock.location, write=True)
    monkeypatch.delenv("BORG_RELOCATED_REPO_ACCESS_IS_OK")
    moved = tmp_path / "moved"
    stock.path.rename(moved)
    with refused(RepositoryError, "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"):
        look(str(moved))
    monkeypatch.setenv("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
    assert look(str(moved)) == set()


def test_places(make_repository: MakeRepository, monkeypatch: Patch, tmp_path: Path) -> None:
    stock = make_repository("keyfile")
    monkeypatch.setenv("BORG_REPO", stock.location)
    assert look("") == set()
    monkeypatch.setenv("BORG_CACHE_DIR", str(tmp_path / "cache"))
    look("", write=True)
    assert list((tmp_path / "cache").glob("*/chunks"))
    (key,) = (stock.home / ".config/borg/keys").iterdir()
    hidden = tmp_path / "hidden.key"
    key.rename(hidden)
    with refused(RepositoryError, "key", "BORG_KEY_FILE"):
        look("")
    monkeypatch.setenv("BORG_KEY_FILE", str(hidden))
    assert look("") == set()
    monkeypatch.delenv("BORG_REPO")
    with refused(UsageError, "BORG_REPO"):
        look("")
    with refused(UsageError, "archive"):
        look(f"{stock.location}::name")
    with refused(UsageError, "compression"):
        look(stock.location, compression="brotli")


def test_not_a_repository(tmp_path: Path) -> None:
    with refused(RepositoryNotFound, "borg init"):
        look(str(tmp_path / "nothing"))
    with refused(RepositoryNotFound, "no Borg 1.4 repository"):
        look(str(tmp_path))


def test_not_a_repository_over_ssh(tmp_path: Path, monkeypatch: Patch) -> None:
    serve_locally(monkeypatch, tmp_path)
    with refused(RepositoryNotFound, "borg init", "ssh://backup.example"):
        look(f"ssh://backup.example{tmp_path}/nothing")
    serve_locally(monkeypatch, tmp_path, "--restrict-to-path", "/nowhere")
    with refused(RepositoryError, "does not allow"):
        look(f"ssh://backup.example{tmp_path}/nothing")


def test_locked(stock: Stock) -> None:
    """Readers share, a writer is alone; waiting is bounded, and ends well when the other does."""
    program = (
        "import sys; from borg_ovirt.repository.open import open_repository\n"
        "with open_repository(sys.argv[1], write=False): print('open', flush=True), input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, stock.location],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        assert look(stock.location) == set()
        with refused(RepositoryLocked, "--lock-wait"):
            look(stock.location, write=True, lock_wait=0.3)
        reader.communicate("\n", timeout=30)
    holder = subprocess.Popen(
        [str(BORG), "with-lock", str(stock.path), "sh", "-c", "echo locked; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        before = time.monotonic()
        with refused(RepositoryLocked, "--lock-wait", stock.location):
            look(stock.location, write=True, lock_wait=0.3)
        assert time.monotonic() - before < 10
        if stock.location == str(stock.path):
            assert look(stock.location, lock_wait=0.3) == set()
        else:
            with refused(RepositoryLocked, "--lock-wait"):
                look(stock.location, lock_wait=0.3)
    finally:
        holder.communicate(b"go\n", timeout=30)
    assert look(stock.location, write=True, lock_wait=20.0) == set()


def test_ssh_fails(tmp_path: Path, monkeypatch: Patch) -> None:
    where = "ssh://borg@backup.example:2222/srv/repo"
    rsh = tmp_path / "rsh"
    # The connection is at its end before ssh says why.
    rsh.write_text("#!/bin/sh\nexec >&-\nsleep 0.3\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    rsh.chmod(0o755)
    with refused(RepositoryError, "Permission denied (publickey)", where):
        look(where, rsh=str(rsh))
    monkeypatch.setenv("BORG_RSH", str(tmp_path / "no-such-program"))
    with refused(RepositoryError, "no-such-program", "BORG_RSH"):
        look(where)
    where = where.replace(":2222", "")
    serve_locally(monkeypatch, tmp_path)
    monkeypatch.setenv("BORG_REMOTE_PATH", "no-such-borg")
    with refused(RepositoryError, "no-such-borg", "BORG_REMOTE_PATH"):
        look(where)
    rsh.write_text("#!/bin/sh\necho 'Welcome to this host'\nexec cat\n")
    with refused(RepositoryError):
        look(where)


def test_options_reach_the_connection(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: Patch
) -> None:
    """The options of the call win over the variables; the upload limit is set in Borg's own limiter."""
    stock = make_repository("none", way="serve")
    good = os.environ["BORG_RSH"]
    monkeypatch.setenv("BORG_RSH", "/nowhere/rsh")
    monkeypatch.setenv("BORG_REMOTE_PATH", "/nowhere/borg")
    options = {"rsh": good, "remote_path": str(BORG)}
    assert look(stock.location, **options) == set()
    rates = {}
    for limit in (0, 800):
        with open_repository(stock.location, write=True, upload_limit=limit, **options) as repository:
            rates[limit] = repository._session._repository.ratelimit.ratelimit
    assert rates[0] is None
    assert rates[800] > 0


def test_reading_only(stock: Stock) -> None:
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: image(1, 3, tail=5)})
        ids = list(repository.archive("one").disk(f"disks/{SYSTEM}.raw").chunks)
    with open_repository(stock.location, write=False) as repository:
        assert all(map(repository.has, ids))
        assert not repository.has(ids[0]._replace(id=b"\x01" * 32))
        with refused(RepositoryError, "reading only"), repository.writer("two", started=NOON):
            pass
        with refused(RepositoryError, "reading only"):
            repository.delete(["one"])
        with refused(ArchiveNotFound, "two"):
            repository.archive("two")


def test_a_missing_cache_is_built_again(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    data = image(3, 5)
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: data})
    shutil.rmtree(stock.home / ".cache")
    with open_repository(stock.location, write=True) as repository:
        with repository.writer("unused", started=NOON) as writer:
            sink = writer.disk("disks/x", 1, 1)
            assert all(map(repository.has, repository.archive("one").disk(f"disks/{SYSTEM}.raw").chunks))
            sink.zero(1)
        back_up(repository, "two", {SYSTEM: data}, base="one")
    stock.check()


def test_facts_of_the_repository(stock: Stock) -> None:
    config = (stock.path / "config").read_text()
    with open_repository(stock.location, write=False) as repository:
        assert f"id = {repository.id}" in config
        assert repository.location == stock.location
        assert repository.encryption == "repokey"
        assert repository.append_only is (None if stock.location.startswith("ssh") else False)


def test_a_damaged_cache_is_told(make_repository: MakeRepository) -> None:
    stock = make_repository("none")
    look(stock.location, write=True)
    (chunks,) = (stock.home / ".cache/borg").glob("*/chunks")
    chunks.write_bytes(b"rubbish")
    with refused(RepositoryError, "borg delete --cache-only"):
        look(stock.location, write=True)


@pytest.mark.thin(8)
@pytest.mark.parametrize(
    "garbage", [b"", b"\0\xff" * 50, b"[cache\n", b"[cache]\nversion = x\n", b"[other]\na = b\n"]
)
@pytest.mark.parametrize(
    "file",
    ["config", "README", ".cache/borg/*/config", ".cache/borg/*/README", ".config/borg/security/*/location"],
)
def test_garbage_in_a_file_of_borgs_is_told_as_such(
    make_repository: MakeRepository, file: str, garbage: bytes
) -> None:
    """An error of ours, or Borg does not care; never a fault of ours."""
    stock = make_repository("none")
    look(stock.location, write=True)
    root = stock.home if file.startswith(".") else stock.path
    for path in root.glob(file):
        path.write_bytes(garbage)
    with contextlib.suppress(BorgOvirtError):
        look(stock.location, write=True)
    with contextlib.suppress(BorgOvirtError):
        look(stock.location)


@pytest.mark.parametrize(
    "changed",
    [
        {"time": "yesterday"},
        {"time": b"\xff"},
        {"time_end": "0000-00-00"},
        {"time_end": 7},
        {"cmdline": 7},
        {"cmdline": [7]},
        {"items": 7},
        {"items": [[]]},
        {"size": "big"},
        {"comment": 7},
    ],
    ids=str,
)
def test_an_archive_with_metadata_that_make_no_sense(
    make_repository: MakeRepository, monkeypatch: Patch, changed: dict[str, Any]
) -> None:
    """Whoever has the key can write such; it hides no other archive, and ends in an error of ours."""
    stock = make_repository("none")
    pack = KeyBase.pack_and_authenticate_metadata

    def tampered(key: Any, metadata: Any, context: bytes = b"manifest") -> bytes:
        return pack(key, {**metadata, **changed} if context == b"archive" else metadata, context)

    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "good", {SYSTEM: image(1, 3)})
        with monkeypatch.context() as patch:
            patch.setattr("borg.crypto.key.KeyBase.pack_and_authenticate_metadata", tampered)
            back_up(repository, "odd", {SYSTEM: image(1, 3)})
    with open_repository(stock.location, write=False) as repository:
        assert "good" in [info.name for info in repository.archives()]
        with contextlib.suppress(BorgOvirtError):
            assert repository.archive("odd").manifest


def test_space_is_told_as_it_was_freed(make_repository: MakeRepository) -> None:
    """A repository that only grows frees nothing; over `borg serve` nobody can tell."""
    stock = make_repository("none")
    with open_repository(stock.location, write=True, compression="none") as repository:
        back_up(repository, "one", {SYSTEM: image(1, 30, zeros=0)})
        repository.delete(["one"])
        before = sum(os.path.getsize(path) for path in stock.segments())
        freed = repository.compact()
        after = sum(os.path.getsize(path) for path in stock.segments())
        assert freed is not None
        assert 0 < before - after == freed
    with open_repository(stock.location, write=True, compression="none") as repository:
        back_up(repository, "two", {SYSTEM: image(2, 30, zeros=0)})
    stock.run("config", str(stock.path), "append_only", "1")
    with open_repository(stock.location, write=True) as repository:
        repository.delete(["two"])
        assert repository.compact() == 0


def test_a_server_does_not_tell_what_it_freed(make_repository: MakeRepository) -> None:
    stock = make_repository("none", way="serve")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: image(1, 3)})
        repository.delete(["one"])
        assert repository.compact() is None
