"""Looks at the way to the engine: a web proxy of the environment, the certificate at its end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.ovirt.session.ca import engine_certificate_end
from borg_ovirt.ovirt.session.certificate import tls_context
from borg_ovirt.ovirt.session.engine import EngineAccess
from borg_ovirt.ovirt.session.proxy import proxy_of

_SOON = timedelta(days=30)


def look_at_way(access: EngineAccess) -> Iterator[Finding]:
    """What stands between this machine and the engine. Without a usable proxy nothing else can be asked."""
    try:
        proxy = proxy_of(access.api_url)
    except BorgOvirtError as error:
        yield failed("web proxy", error.message, error.hint)
        return
    if proxy:
        yield ok("web proxy", f"the engine is asked through {proxy}; disk data goes direct")
    if access.ca_pem:
        return  # the login tells; the PEM lies in no file that could be tried here
    ca_file = str(access.ca_file) if access.ca_file else None
    try:
        tls_context(ca_file)
        end = engine_certificate_end(access.api_url, ca_file)
    except BorgOvirtError as error:
        yield failed("certificate", error.message, error.hint)
    else:
        yield _expiry(access.host, end)


def _expiry(whose: str, end: datetime) -> Finding:
    text = f"{whose}: trusted, good until {end:%Y-%m-%d}"
    if end - datetime.now(timezone.utc) < _SOON:
        return warn("certificate", text, "Renew it before it expires.")
    return ok("certificate", text)
