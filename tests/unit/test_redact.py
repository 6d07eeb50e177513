"""No secret passes `redact`, and innocent text does."""

from __future__ import annotations

import json

import pytest

from borg_ovirt.redact import json_text, redact, remember

TICKET = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"GET https://host:54322/images/{TICKET}/extents", "GET https://host:54322/images/***/extents"),
        (f"/images/{TICKET.upper()}?flush=y", "/images/***?flush=y"),
        (f"DELETE /tickets/{TICKET}", "DELETE /tickets/***"),
        ("Authorization: Bearer abc.DEF-123_xyz", "Authorization: Bearer ***"),
        ("grant_type=password&password=hun,ter2&x=1", "grant_type=password&password=***&x=1"),
        ('password="s3cret" and more', "password=*** and more"),
        ("it's password='s3 cret', is it", "it's password=***, is it"),
        ('password: "x', "password: ***"),
        ('"password": "a\\"b", "x": 1', '"password": ***, "x": 1'),
        ("BORG_PASSPHRASE=hush borg list", "BORG_PASSPHRASE=*** borg list"),
        ("ssh://u:p@ss@host/repo", "ssh://u:***@host/repo"),
        ("/etc/borg-ovirt/password: No such file", "/etc/borg-ovirt/password: No such file"),
        ("'./engine-password': No such file", "'./engine-password': No such file"),
        ("errors.WrongPassphrase: The key stays closed.", "errors.WrongPassphrase: The key stays closed."),
        ("{'access_token': 'abcdefgh', 'exp': 1}", "{'access_token': ***, 'exp': 1}"),
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


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"description": 'password: "x', "n": 1}, {"description": "password: ***", "n": 1}),
        ({"password": 'a"b', "passphrase": ""}, {"password": "***", "passphrase": ""}),
        (
            {"lines": ["password=x\\"], "at": f"/images/{TICKET}"},
            {"lines": ["password=***"], "at": "/images/***"},
        ),
        ({"name": "\x7f\x1b\u202e\u2028é"}, {"name": "\x7f\x1b\u202e\u2028é"}),
    ],
)
def test_json_without_secrets_is_json_and_else_exact(value: object, shown: object) -> None:
    text = json_text(value)
    assert json.loads(text) == shown
    assert text.isascii()
    assert text.isprintable()


def test_a_secret_with_a_quote_is_hidden_in_json() -> None:
    remember('hush"hush')
    assert json.loads(json_text({"said": 'it is hush"hush'})) == {"said": "it is ***"}
