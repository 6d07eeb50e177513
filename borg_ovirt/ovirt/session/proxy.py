"""Which proxy leads to the engine: the environment's, looked up once, for login, SDK and certificate alike.

`https_proxy`, `all_proxy` and `no_proxy` are read as `requests` reads them, and the answer is handed to
whoever connects: libcurl has rules of its own for the same variables. Data connections to the hosts and to
the engine's imageio proxy go direct: a web proxy in the way of terabytes is nobody's wish.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from borg_ovirt.errors import EngineUnreachable


@dataclass(frozen=True)
class Proxy:
    """A proxy and the variable that names it. Its URL may hold a password; its `str` does not."""

    url: str = field(repr=False)
    variable: str

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"the proxy {scheme}://{rest.rpartition('@')[2].rstrip('/')} ({self.variable})"

    @property
    def hint(self) -> str:
        """What to do when it does not lead to the engine."""
        return f"Check {self.variable}, or name the engine in no_proxy."


def proxy_of(url: str) -> Proxy | None:
    """The proxy that the environment wants for this URL, if any.

    Raises `EngineUnreachable` for one that cannot be used.
    """
    from requests import utils

    wanted = utils.select_proxy(url, utils.get_environ_proxies(url))
    if not wanted:
        return None
    proxy = Proxy(wanted if "://" in wanted else f"http://{wanted}", _variable(urlsplit(url).scheme, wanted))
    try:
        parts = urlsplit(proxy.url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise EngineUnreachable(
            f"No connection to the engine through {proxy}: it is not http(s)://HOST:PORT.", proxy.hint
        )
    return proxy


def _variable(scheme: str, value: str) -> str:
    names = [form for name in (f"{scheme}_proxy", "all_proxy") for form in (name, name.upper())]
    return next((name for name in names if os.environ.get(name) == value), names[0])
