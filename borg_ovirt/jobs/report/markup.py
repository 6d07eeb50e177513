"""HTML made of elements: every text in it is escaped, for names and comments were written by others."""

from __future__ import annotations

import html
from collections.abc import Iterable

from borg_ovirt.terminal import shown


class Markup(str):
    """Text that is HTML already; only `element` and `together` make it."""

    __slots__ = ()


Content = str | Markup | None
"""Plain text is escaped; None is nothing."""

_VOID = {"meta", "rect", "line", "path", "circle", "polyline"}


def element(name: str, /, *content: Content, **attributes: str | float | None) -> Markup:
    """An element. Attributes: a trailing `_` is dropped, other `_` become `-`; None leaves one out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{told}/>" if name != "meta" else f"<{name}{told}>")
    return Markup(f"<{name}{told}>{together(content)}</{name}>")


def together(content: Iterable[Content]) -> Markup:
    """Elements and texts, one after the other."""
    return Markup("".join(escaped(part) for part in content if part is not None))


def escaped(text: str | Markup) -> Markup:
    """The text as HTML shows it: secrets hidden, nothing that steers or reorders, every sign escaped."""
    return text if isinstance(text, Markup) else Markup(html.escape(shown(text)))


def _attribute(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return html.escape(shown(str(value)))
