"""Takes secrets out of text before anybody sees it: tickets of image transfers, tokens, passwords.

Whoever learns a ticket's id can read or write the disk while the transfer lives, so a transfer URL is a
secret like a password. Every line that leaves the program passes through `redact`; what leaves as JSON passes
through `redact_values` before it is serialised, for what is hidden in the text of a document may break it.
"""

from __future__ import annotations

import json
import re
from typing import Any

HIDDEN = "***"

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_NAME = r"(?:token|password|passwd|passphrase)"
_QUOTED = r"\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"(/(?:images|tickets)/){_UUID}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    # name=value, with whatever stands before the name in its word: BORG_PASSPHRASE=..., --password=...
    (re.compile(rf"(?i)({_NAME}\s?=\s?)(?:{_QUOTED}|[^\s&'\"}}]+)"), rf"\1{HIDDEN}"),
    # name: value; but a name at the end of a path is a file, and what follows is what became of it
    (
        re.compile(rf"(?i)((?<![\w/.-])(?:[\w.-]*[_.-])?{_NAME}['\"]?:\s*)(?:{_QUOTED}|[^\s&'\",}}]+)"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^/\s:@]+):[^/\s]+@"), rf"\1:{HIDDEN}@"),
)
_SECRET_KEY = re.compile(rf"(?i)[\w.-]*{_NAME}")

_known: set[str] = set()

# Shorter words would blot out innocent text all over the output.
_SHORTEST_KNOWN = 4


def remember(secret: str) -> None:
    """Hide this very string from now on, wherever it turns up."""
    if len(secret) >= _SHORTEST_KNOWN:
        _known.add(secret)


def redact(text: str) -> str:
    """The text with each secret replaced by `***`."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_values(value: Any) -> Any:
    """What JSON can tell, with each secret in its texts hidden, and each text under a secret's name."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            redact(key) if isinstance(key, str) else key: HIDDEN
            if isinstance(below, str) and below and isinstance(key, str) and _SECRET_KEY.fullmatch(key)
            else redact_values(below)
            for key, below in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_values(one) for one in value]
    return value


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON without secrets: exact, and of characters that steer no terminal."""
    # Of those below 127 json escapes all that steer, and everything above.
    return json.dumps(redact_values(value), indent=indent).replace("\x7f", "\\u007f")
