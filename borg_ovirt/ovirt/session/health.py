"""Is the engine well? It has a page that says so."""

from __future__ import annotations

from urllib.parse import urlsplit

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.session.web import ask

PAGE = "/ovirt-engine/services/health"
"""Answers 200 when the engine is up and reaches its database, to anybody. [seen on 4.5.8]"""
_TIMEOUT = 10.0
_HIDDEN = (301, 302, 401, 403, 404, 405)
"""What a proxy in front says of a page that it does not hand on."""


class Health:
    """Asks the health page; where a site hides it, nothing is known and the engine passes for well."""

    def __init__(self, api_url: str, ca_file: str | None) -> None:
        parts = urlsplit(api_url)
        self._url = f"{parts.scheme}://{parts.netloc}{PAGE}"
        self._ca_file = ca_file
        self._hidden: bool | None = None

    def learn(self) -> None:
        """To be called while the engine answers: does it show the page at all?"""
        self._hidden = self._status() in _HIDDEN

    def is_well(self) -> bool:
        """Whether the engine says that it is well, on a connection of its own."""
        return bool(self._hidden) or self._status() == 200

    def told(self) -> str:
        """What the page says, for people; empty where it says nothing of interest."""
        status = 0 if self._hidden else self._status()
        return f"its health page answers {status}" if status not in (0, 200) else ""

    def _status(self) -> int:
        """The status of the page; 0 if no answer came."""
        try:
            return ask(self._url, ca_file=self._ca_file, timeout=_TIMEOUT).status
        except BorgOvirtError:
            return 0
