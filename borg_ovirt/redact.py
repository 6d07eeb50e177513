"""Takes secrets out of text before anybody sees it: tickets of image transfers, tokens, passwords.

Whoever learns a ticket's id can read or write the disk while the transfer lives, so a transfer URL is a
secret like a password. Every line that leaves the program passes through `redact`.
"""

from __future__ import annotations

import logging
import re

HIDDEN = "***"

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"(/(?:images|tickets)/){_UUID}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(r"(?i)\b((?:access_|sso_)?token|password|passphrase)(=|['\"]?:\s*['\"]?)[^\s&'\",}]+"),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^/\s:@]+):[^/\s@]+@"), rf"\1:{HIDDEN}@"),
)

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


class RedactingFormatter(logging.Formatter):
    """Formats as another formatter does, and hides the secrets of the whole, tracebacks included."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record))
