"""A secret is read from its place, and a place that fails is named without what it holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from borg_ovirt.config import secrets
from borg_ovirt.config.secrets import SecretSource
from borg_ovirt.config.settings import from_environment
from borg_ovirt.errors import ConfigError
from borg_ovirt.redact import redact


def test_a_file_gives_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("pa ss: wörd\nsecond line\n")
    assert SecretSource("password", file=str(path)).reveal() == "pa ss: wörd"


def test_a_command_gives_its_first_line_and_no_shell_runs() -> None:
    line = SecretSource("password", command="printf 'a$HOME b\\nrest'").reveal()
    assert line == "a$HOME b"
    words = (sys.executable, "-c", "print('from words')")
    assert SecretSource("password", command=words).reveal() == "from words"


def test_a_descriptor_is_read_once(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"through the pipe\n")
    os.close(writing)
    assert SecretSource("password", descriptor=reading).reveal() == "through the pipe"
    with pytest.raises(ConfigError, match=f"descriptor {reading}: Bad file descriptor"):
        SecretSource("password", descriptor=reading).reveal()


def test_a_systemd_credential_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ovirt").write_text("sealed")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert SecretSource("password", credential="ovirt").reveal() == "sealed"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match="no credentials were passed"):
        SecretSource("password", credential="ovirt").reveal()


def test_a_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORG_OVIRT_PASSWORD", "from the environment")
    assert SecretSource("password", variable="BORG_OVIRT_PASSWORD").reveal() == "from the environment"


def test_the_password_leaves_the_environment_and_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """So no child inherits it: not BORG_RSH, not a pass command, not even before it is needed."""
    monkeypatch.setattr(secrets, "_taken", {})
    monkeypatch.setenv("BORG_OVIRT_PASSWORD", "for the engine alone")
    secrets.take_password()
    assert "BORG_OVIRT_PASSWORD" not in os.environ
    source = from_environment().password
    assert source is not None
    assert source.reveal() == "for the engine alone"
    assert redact("for the engine alone") == "***"


def test_a_command_for_one_secret_inherits_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORG_PASSPHRASE", "tell nobody")
    monkeypatch.setenv("BORG_OVIRT_PASSWORD", "nor this")
    line = SecretSource(
        "password", command="sh -c 'echo \"<$BORG_PASSPHRASE$BORG_OVIRT_PASSWORD>\"'"
    ).reveal()
    assert line == "<>"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (SecretSource("password", file="/nonexistent/x"), "cannot be read from /nonexistent/x: No such file"),
        (SecretSource("password", file="/dev/null"), "from the file /dev/null is empty"),
        (SecretSource("password", command="false"), "ended with status 1"),
        (SecretSource("password", command="true"), "from its command is empty"),
        (SecretSource("password", command="/nonexistent/x --token hunter2"), "did not start"),
        (SecretSource("password"), "No place is given"),
    ],
)
def test_a_place_that_fails_is_named(source: SecretSource, message: str) -> None:
    with pytest.raises(ConfigError, match="password") as caught:
        source.reveal()
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_what_was_revealed_is_hidden_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("long-unlikely-word")
    SecretSource("password", file=str(path)).reveal()
    assert redact("the long-unlikely-word leaked") == "the *** leaked"


def test_binary_rubbish_is_no_password(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        SecretSource("password", file=str(path)).reveal()
