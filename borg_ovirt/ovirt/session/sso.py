"""Logging in to the engine and out again: a password for a token, with a time limit.

The SDK can do this too, but its login has no time limit, and it tells a wrong certificate, a wrong password
and an engine that is restarting apart by prose only.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urljoin, urlsplit

from borg_ovirt.errors import BorgOvirtError, EngineRefused, EngineUnreachable, LoginFailed
from borg_ovirt.ovirt.session.web import ask

_SCOPE = "ovirt-app-api"


def log_in(api_url: str, username: str, password: str, ca_file: str | None, timeout: float) -> str:
    """An access token for the REST API."""
    reply = _post(
        api_url,
        "/ovirt-engine/sso/oauth/token",
        {"grant_type": "password", "scope": _SCOPE, "username": username, "password": password},
        ca_file,
        timeout,
    )
    token = reply.get("access_token")
    if isinstance(token, str) and token:
        return token
    reason = str(reply.get("error_description") or reply.get("error") or "no token came back")
    code = str(reply.get("error_code") or reply.get("error") or "")
    if code == "server_error":
        raise EngineUnreachable(f"The engine at {_host(api_url)} could not log anybody in: {reason}")
    raise LoginFailed(
        f"The engine at {_host(api_url)} refused to log in {username}: {reason}",
        "Check user name (with its profile, as in admin@internal) and password.",
    )


def log_out(api_url: str, token: str, ca_file: str | None, timeout: float) -> None:
    """Give the token back. A failure is of no consequence: the engine forgets idle sessions by itself."""
    try:
        _post(
            api_url, "/ovirt-engine/services/sso-logout", {"scope": _SCOPE, "token": token}, ca_file, timeout
        )
    except BorgOvirtError:
        return


def _post(
    api_url: str, path: str, form: dict[str, str], ca_file: str | None, timeout: float
) -> dict[str, Any]:
    host = _host(api_url)
    reply = ask(urljoin(api_url, path), ca_file=ca_file, timeout=timeout, form=form)
    if reply.status >= 500 or reply.status == 429:
        raise EngineUnreachable(f"The engine at {host} answers {reply.status}; it may be restarting.")
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        raise EngineRefused(
            f"The login page of {host} answers {reply.status} and no JSON.",
            "Is the URL that of an oVirt engine, as in https://engine.example.org/ovirt-engine/api?",
            status=reply.status,
        ) from None
    if isinstance(body, list):
        body = body[0] if body else {}
    return body if isinstance(body, dict) else {}


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
