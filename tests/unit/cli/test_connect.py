"""Commands reach real repositories by location and by name, with the passphrase from the right place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from borg_ovirt import waits
from borg_ovirt.cli import connect
from borg_ovirt.cli.boundary import run
from borg_ovirt.cli.connect import repositories
from borg_ovirt.config.secrets import SecretSource
from borg_ovirt.config.settings import RepositorySettings
from borg_ovirt.errors import UsageError, WrongPassphrase

BORG = Path(sys.executable).with_name("borg")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encrypted repository that stock Borg made; no passphrase is in the environment."""
    for name in (
        "BORG_PASSPHRASE",
        "BORG_PASSCOMMAND",
        "BORG_PASSPHRASE_FD",
        "BORG_REPO",
        "BORG_OVIRT_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BORG_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    path = tmp_path / "repo"
    subprocess.run(
        [BORG, "init", "-e", "repokey", str(path)],
        check=True,
        capture_output=True,
        env={**os.environ, "BORG_PASSPHRASE": "open sesame"},
    )
    return path


def configured(tmp_path: Path, repo: Path, secret: str) -> list[str]:
    path = tmp_path / "config.yaml"
    path.write_text(f"repositories:\n  local:\n    location: {repo}\n    {secret}\n")
    return ["--config", str(path)]


def test_the_configured_passphrase_opens_the_repository(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = configured(tmp_path, repo, "passphrase_command: printf 'open sesame'")
    for word in ("local", str(repo)):
        assert run(["list", "--json", word, *options]) == 0
        assert json.loads(capsys.readouterr().out)["archives"] == []
    assert "BORG_PASSPHRASE_FD" not in os.environ


def test_each_repository_is_opened_with_its_own_passphrase(repo: Path, tmp_path: Path) -> None:
    """One after the other in one process, as `doctor` and `prune` do: descriptors get the same numbers."""
    other = tmp_path / "other"
    environment = {**os.environ, "BORG_PASSPHRASE": "close sesame"}
    subprocess.run([BORG, "init", "-e", "repokey", other], check=True, capture_output=True, env=environment)
    for path, words in ((repo, "open sesame"), (other, "close sesame"), (repo, "open sesame")):
        assert run(["list", "local", *configured(tmp_path, path, f"passphrase_command: echo {words}")]) == 0


def test_the_environment_goes_before_the_configured_passphrase(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = configured(tmp_path, repo, "passphrase_command: printf wrong")
    monkeypatch.setenv("BORG_PASSPHRASE", "open sesame")
    assert run(["list", "local", *options]) == 0


def test_borgs_descriptor_goes_before_the_configured_passphrase(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be overwritten without a word; and a vault need not be asked in vain."""
    asked = tmp_path / "asked"
    options = configured(tmp_path, repo, f"passphrase_command: touch {asked}")
    reading, writing = os.pipe()
    os.write(writing, b"open sesame\n")
    os.close(writing)
    os.dup2(reading, 200)  # a number of its own: it is remembered for good
    os.close(reading)
    reading = 200
    monkeypatch.setenv("BORG_PASSPHRASE_FD", str(reading))
    assert run(["list", "local", *options]) == 0
    assert os.environ["BORG_PASSPHRASE_FD"] == str(reading)
    assert not asked.exists()


def test_the_environment_goes_before_the_configuration_of_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("BORG_PASSPHRASE", "BORG_PASSPHRASE_FD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BORG_PASSCOMMAND", "echo sesame")
    asked = tmp_path / "asked"
    source = SecretSource("passphrase", command=f"touch {asked}")
    settings = {name: RepositorySettings(f"/srv/{name}", passphrase=source) for name in ("a", "b")}
    repositories(settings)
    assert not asked.exists()


def test_a_repository_is_named_once() -> None:
    with pytest.raises(UsageError, match="/srv/a is named twice"):
        repositories({"a": RepositorySettings("/srv/a"), "b": RepositorySettings("/srv/a")})


def test_a_wrong_passphrase_is_one_line(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["list", "local", *configured(tmp_path, repo, "passphrase_command: printf rubbish")]) == 32
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "rubbish" not in err
    assert "BORG_PASSPHRASE_FD" not in os.environ


def test_the_repository_of_the_environment_is_the_default(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BORG_PASSPHRASE", "open sesame")
    monkeypatch.setenv("BORG_REPO", str(repo))
    assert run(["list"]) == 0
    assert capsys.readouterr().out.startswith("ARCHIVE")
    assert run(["info", "::web01"]) == 34
    assert "web01" in capsys.readouterr().err


def test_what_is_missing_is_said_before_anything_is_opened(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("URL", "USERNAME", "PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND"):
        monkeypatch.delenv(f"BORG_OVIRT_{name}", raising=False)
    assert run(["create", f"{repo}::web01"]) == 2
    assert "--url" in capsys.readouterr().err
    assert run(["create", f"{repo}::web01", "--url", "https://e", "--username", "u@internal"]) == 2
    assert "No password is given for u@internal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "d", "--name", "new"], "--name makes no sense with --to"),
        (["--to", "d", "--start"], "--start makes no sense with --to"),
        (["--format", "qcow2"], "--format goes with --to"),
        (["--over", "id"], "--over goes with exactly one --disk"),
        (["--name", "n", "--disk", "d"], "--name is for a VM"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["extract", "/r::web01", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_small_upload_limit_is_a_limit() -> None:
    """Borg counts in KiB per second and takes zero for no limit."""
    assert (connect._kib(None), connect._kib(1), connect._kib(5 << 10)) == (None, 1, 5)


@pytest.mark.parametrize("given", [True, False])
def test_that_it_is_opened_is_told_unless_borg_may_ask(
    repo: Path, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    @contextmanager
    def show(text: str) -> Iterator[None]:
        told.append(text)
        yield

    source = SecretSource("passphrase", command="printf 'open sesame'") if given else None
    opening = connect.repository(RepositorySettings(str(repo), passphrase=source), write=False)
    with waits.shown_by(show), suppress(WrongPassphrase), opening:
        pass
    assert told == ([f"opening the repository {repo}"] if given else [])
