"""One line of `doctor`: what was looked at, how it is, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """`todo` is None where there is nothing to do."""

    about: str
    status: Literal["ok", "warning", "failure"]
    text: str
    todo: str | None = None


def ok(about: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(about, "ok", text)


def warn(about: str, text: str, todo: str | None) -> Finding:
    """Backups work, but less well than they could, or not for long."""
    return Finding(about, "warning", text, todo)


def failed(about: str, text: str, todo: str | None) -> Finding:
    """Backups fail, or could be lost."""
    return Finding(about, "failure", text, todo)
