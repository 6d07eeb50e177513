"""Results go to standard output, all else to standard error; neither shows a secret."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

import pytest

from borg_ovirt.cli.output import Output, plain
from borg_ovirt.redact import remember

TICKET = "0f8fad5b-d9cb-469f-a165-70867728950e"
SECRET = f"https://host:54322/images/{TICKET}"

Captured = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    """Says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def loggers() -> Iterator[None]:
    """The root's handlers and our level as they were."""
    root, ours = logging.getLogger(), logging.getLogger("borg_ovirt")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_results_on_one_side_words_on_the_other(capsys: Captured) -> None:
    output = Output()
    output.tell("a word")
    output.warn("a warning")
    output.error("It failed", "Try again.")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("borg-ovirt: a word\nborg-ovirt: warning: a warning\nborg-ovirt: It failed. Try again.\n")
    output.lines("a result")
    output.table(["NAME", "SIZE"], [["web01", "1 GiB"]])
    output.result({"name": "web01"})
    out, err = capsys.readouterr()
    assert out.startswith("a result\nNAME   SIZE\nweb01  1 GiB\n{")
    assert err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_no_secret_in_any_form(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    remember("open sesame")
    out = Terminal() if terminal else io.StringIO()
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    for output in (Output(), Output(log_json=True)):
        output.tell(f"at {SECRET}")
        output.warn("open sesame")
        output.error(f"open sesame at {SECRET}", "Say open sesame.", 2)
        output.lines(SECRET, "open sesame")
        output.table(["WHERE"], [[f"/images/{TICKET}"], ["open sesame"]])
        output.result({"where": SECRET, "password": "open sesame"})
    for text in (out.getvalue(), err.getvalue()):
        assert "***" in text
        assert TICKET not in text
        assert "sesame" not in text


@pytest.mark.parametrize("log_json", [False, True])
def test_no_secret_in_the_log(loggers: None, capsys: Captured, log_json: bool) -> None:
    Output(log_json=log_json, debug=True).start_logging()
    for name in ("borg_ovirt.x", "borg.repository", "ovirtsdk4"):
        logging.getLogger(name).warning("at %s", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("borg_ovirt").exception("failed")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("/images/***") >= 4
    assert TICKET not in err
    lines = err.splitlines()
    if log_json:
        assert [json.loads(line)["levelname"] for line in lines] == ["WARNING"] * 3 + ["ERROR"]
    else:
        assert lines[0].startswith("borg-ovirt: warning: at https://host:54322/images/***")


@pytest.mark.parametrize(
    ("verbose", "debug", "level"),
    [
        (0, False, logging.WARNING),
        (1, False, logging.INFO),
        (2, False, logging.DEBUG),
        (0, True, logging.DEBUG),
    ],
)
def test_how_much_is_logged(loggers: None, verbose: int, debug: bool, level: int) -> None:
    Output(verbose=verbose, debug=debug).start_logging()
    assert logging.getLogger("borg_ovirt").level == level
    assert logging.getLogger().level == logging.WARNING, "other libraries tell their warnings only"


def test_names_are_no_markup_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    Output().table(["VM"], [["[red]web[/red]"]])
    assert "[red]web[/red]" in out.getvalue()


def test_json_for_programs(capsys: Captured) -> None:
    class Colour(Enum):
        RED = "red"

    @dataclass
    class Result:
        name: str
        secret: str = field(repr=False)

    value = {
        "when": datetime(2026, 1, 2, tzinfo=timezone.utc),
        "took": timedelta(minutes=2),
        "colour": Colour.RED,
        "path": Path("/x"),
        "id": b"\x01\xff",
        "names": {"b", "a"},
        "made": Result("web01", "hunter2"),
    }
    Output().result(value)
    assert json.loads(capsys.readouterr().out) == {
        "when": "2026-01-02T00:00:00+00:00",
        "took": 120.0,
        "colour": "red",
        "path": "/x",
        "id": "01ff",
        "names": ["a", "b"],
        "made": {"name": "web01"},
    }
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain(object())
