"""Text as a terminal may show it: characters that steer it, or that hide or reorder text, are shown escaped.

Names, comments, faults and manifests are written by others, and a terminal obeys what it is sent: it would
clear the screen, change its title, or show rows that are not there.
"""

from __future__ import annotations

import unicodedata

from borg_ovirt.redact import redact

_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control (C0, DEL, C1), format (the bidirectional overrides among them), surrogates, line separators."""
_JOINERS = "\u200c\u200d"
"""They belong to the spelling of words."""


def printable(text: str) -> str:
    """One line of text: `\\x1b`, `\\n`, `\\u202e` stand for what would steer the terminal."""
    if text.isprintable():
        return text
    return "".join(_escaped(char) if unicodedata.category(char) in _STEERING else char for char in text)


def shown(text: str) -> str:
    """One line for people: secrets hidden, and nothing that steers their terminal."""
    return printable(redact(text))


def shown_lines(text: str) -> str:
    """Several lines of our own making, such as a traceback: only the line feeds are kept."""
    return "\n".join(printable(line) for line in redact(text).split("\n"))


def _escaped(char: str) -> str:
    return char if char in _JOINERS else char.encode("unicode_escape").decode("ascii")
