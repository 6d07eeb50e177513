"""No secret passes `redact`, and innocent text does."""

from __future__ import annotations

import logging

import pytest

from borg_ovirt.redact import RedactingFormatter, redact, remember

TICKET = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET https://host:54322/images/{TICKET}/extents", "GET https://host:54322/images/***/extents"),
        (f"/images/{TICKET.upper()}?flush=y", "/images/***?flush=y"),
        (f"DELETE /tickets/{TICKET}", "DELETE /tickets/***"),
        ("Authorization: Bearer abc.DEF-123_xyz", "Authorization: Bearer ***"),
        ("grant_type=password&password=hun,ter2&x=1", "grant_type=password&password=***,ter2&x=1"),
        ("{'access_token': 'abcdefgh', 'exp': 1}", "{'access_token': '***', 'exp': 1}"),
        ("https://user:secret@engine/api", "https://user:***@engine/api"),
        ("ssh://borg@host:22/./vms", "ssh://borg@host:22/./vms"),
        (f"disk {TICKET} of VM web01", f"disk {TICKET} of VM web01"),
        ("wrong password for backup@internal", "wrong password for backup@internal"),
    ],
)
def test_each_kind_of_secret_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_remembered_secret_is_hidden_wherever_it_stands() -> None:
    remember("correct horse")
    remember("correct horse battery")
    assert redact("say correct horse battery, correct horse") == "say ***, ***"


def test_a_short_secret_does_not_blot_out_the_text() -> None:
    remember("a")
    assert redact("a banana") == "a banana"


def test_log_records_and_tracebacks_are_hidden_too() -> None:
    formatter = RedactingFormatter(logging.Formatter("%(message)s"))
    try:
        raise ValueError(f"/images/{TICKET}")
    except ValueError:
        import sys

        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "at %s", ("u:pw@",), sys.exc_info())
    text = formatter.format(record)
    assert TICKET not in text
    assert "ValueError: /images/***" in text
