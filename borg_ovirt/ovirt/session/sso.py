"""Logging in to the engine and out again: a password for a token, with a time limit.

The SDK can do this too, but its login has no time limit, and it tells a wrong certificate, a wrong password
and an engine that is restarting apart by prose only.
"""

from __future__ import annotations

import json
import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from borg_ovirt.errors import BorgOvirtError, CertificateError, EngineRefused, EngineUnreachable, LoginFailed

_SCOPE = "ovirt-app-api"
_LARGEST_REPLY = 1 << 20


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
    told = str(reply.get("error_description") or reply.get("error") or "no token came back")
    code = str(reply.get("error_code") or reply.get("error") or "")
    if code == "server_error":
        raise EngineUnreachable(f"The engine at {_host(api_url)} could not log anybody in: {told}")
    raise LoginFailed(
        f"The engine at {_host(api_url)} refused to log in {username}: {told}",
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
    try:
        status, text = _exchange(api_url, path, urlencode(form), ca_file, timeout)
    except ssl.SSLCertVerificationError:
        raise untrusted(host) from None
    except ssl.SSLError as error:
        raise EngineUnreachable(f"No TLS connection to the engine at {host}: {_cause(error)}") from None
    except (OSError, HTTPException) as error:
        raise EngineUnreachable(
            f"No connection to the engine at {host}: {_cause(error)}",
            "Check the URL, name resolution, port 443 and whether the engine is up.",
        ) from None
    if status >= 500 or status == 429:
        raise EngineUnreachable(f"The engine at {host} answers {status}; it may be restarting.")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise EngineRefused(
            f"The login page of {host} answers {status} and no JSON.",
            "Is the URL that of an oVirt engine, as in https://engine.example.org/ovirt-engine/api?",
            status=status,
        ) from None
    if isinstance(body, list):
        body = body[0] if body else {}
    return body if isinstance(body, dict) else {}


def _exchange(api_url: str, path: str, form: str, ca_file: str | None, timeout: float) -> tuple[int, bytes]:
    """Status and body. No redirect is followed and no proxy asked: the form has a secret."""
    parts = urlsplit(api_url)
    connection: HTTPConnection
    if parts.scheme == "http":
        connection = HTTPConnection(parts.netloc, timeout=timeout)
    else:
        context = ssl.create_default_context(cafile=ca_file)
        connection = HTTPSConnection(parts.netloc, timeout=timeout, context=context)
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    with closing(connection):
        connection.request("POST", path, form, headers)
        response = connection.getresponse()
        return response.status, response.read(_LARGEST_REPLY)


def untrusted(host: str) -> CertificateError:
    """The error for a certificate that the given CA did not sign."""
    return CertificateError(
        f"The certificate of {host} was not signed by the CA given (or is for another name).",
        "Fetch the engine's CA: https://ENGINE/ovirt-engine/services/pki-resource"
        "?resource=ca-certificate&format=X509-PEM-CA",
    )


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _cause(error: BaseException) -> str:
    """What happened, without the number in front."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
