"""What doctor says of files with secrets, a copy of the key, a repository's owner; and on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.cli.output import Output
from borg_ovirt.jobs.health.doctor_files import look_at_files
from borg_ovirt.jobs.health.doctor_repository import LookedAt, look_at_repository
from borg_ovirt.jobs.health.finding import Finding

ID = "ab" * 32


def repository(**other: Any) -> SimpleNamespace:
    facts = {"location": "/no/where", "encryption": "repokey", "id": ID, "append_only": None}
    return SimpleNamespace(**{**facts, **other}, archives=list)


def looked_at(found: SimpleNamespace, **more: str) -> dict[str, Finding]:
    """By the first words of what is said."""

    @contextmanager
    def opener() -> Iterator[Any]:
        yield found

    return {
        " ".join(one.text.split()[:4]): one
        for one in look_at_repository("local", LookedAt(opener, **more), Path("/nowhere"))
    }


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        (f"BORG_KEY {ID}\nhqlh...\n", "ok", "a copy of its key was made on 20"),
        (f"BORG_KEY {'cd' * 32}\nhqlh...\n", "warning", "is no copy of its key"),
        ("", "warning", "is no copy of its key"),
        (None, "warning", "cannot be read"),
    ],
)
def test_a_copy_of_the_key_is_looked_into(tmp_path: Path, text: str | None, status: str, says: str) -> None:
    copy = tmp_path / "key"
    if text is not None:
        copy.write_text(text)
    found = looked_at(repository(), key_backup=str(copy)).values()
    (finding,) = [one for one in found if "key" in one.text and not one.text.startswith("encrypted")]
    assert (finding.status, says in finding.text) == (status, True)


def test_no_copy_of_a_key_is_a_warning_where_there_is_a_key() -> None:
    assert looked_at(repository())["no copy of its"].status == "warning"
    assert not any("key" in words for words in looked_at(repository(encryption="none")))


def test_what_only_the_server_knows_may_be_confirmed_in_the_configuration() -> None:
    assert looked_at(repository())["whether this machine can"].status == "warning"
    confirmed = looked_at(repository(), append_only="root, 2026-03-01")["append-only, confirmed by: root,"]
    assert (confirmed.status, confirmed.text) == ("ok", "append-only, confirmed by: root, 2026-03-01")
    # What can be seen goes before what somebody says.
    assert (
        looked_at(repository(append_only=False), append_only="me")["this machine can destroy"].status
        == "warning"
    )


def test_another_users_repository_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "it belongs to" not in " ".join(looked_at(repository(location=str(tmp_path))))
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    (told,) = [one for one in looked_at(repository(location=str(tmp_path))).values() if "belongs" in one.text]
    assert told.status == "warning"
    assert "as-borg-ovirt" in (told.todo or "")


@pytest.mark.parametrize(
    ("secret", "config", "states"),
    [
        (0o600, 0o644, ["ok"]),
        (0o400, 0o600, ["ok"]),
        (0o640, 0o644, ["warning"]),
        (0o604, 0o644, ["warning"]),
        (0o600, 0o664, ["ok", "failure"]),
        (0o644, 0o646, ["warning", "failure"]),
    ],
)
def test_modes_of_files(tmp_path: Path, secret: int, config: int, states: list[str]) -> None:
    for name, mode in (("password", secret), ("config.yaml", config)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    found = list(look_at_files(tmp_path / "config.yaml", [tmp_path / "password", tmp_path / "gone"]))
    assert [one.status for one in found] == states
    for one in found:
        assert one.status == "ok" or str(tmp_path) in (one.todo or "")


@pytest.mark.parametrize(
    ("terminal", "no_colour", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_the_word_is_coloured_on_a_terminal_that_wants_it(
    terminal: bool,
    no_colour: str,
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    Output().lines("warning  engine: none \x1b[2J", first="yellow")
    said = capsys.readouterr().out
    assert said == ("\x1b[33mwarning\x1b[0m" if coloured else "warning") + "  engine: none \\x1b[2J\n"
