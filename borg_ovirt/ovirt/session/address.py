"""Addresses that others wrote, split and checked: what a library would stumble over later is refused here."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult:
    """The parts of a URL with a host; ValueError says what is wrong, never the URL: it may be secret."""
    parts = urlsplit(url)
    host = parts.hostname
    if not host:
        raise ValueError("it names no host")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("its host is no host name") from None
    if host.startswith("."):
        raise ValueError("its host begins with a dot")
    if parts.port == 0:  # asked for here, for a port out of range is a ValueError too
        raise ValueError("its port is 0")
    if not parts.path.isascii() or not parts.path.isprintable() or " " in parts.path:
        raise ValueError("its path has characters that no address has")
    return parts
