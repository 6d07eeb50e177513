"""Logging in to the engine and out again: a password for a token, with a time limit.

The SDK can do this too, but its login has no time limit, and it tells a wrong certificate, a wrong password
and an engine that is restarting apart by prose only.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from borg_ovirt.errors import BorgOvirtError, CertificateError, EngineRefused, EngineUnreachable, LoginFailed

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
    import requests

    parts = urlsplit(api_url)
    host = _host(api_url)
    try:
        with requests.Session() as session:
            session.trust_env = False  # an environment's proxy or CA bundle must not overrule the settings
            response = session.post(
                f"{parts.scheme}://{parts.netloc}{path}",
                data=form,
                headers={"Accept": "application/json"},
                verify=ca_file or True,
                timeout=timeout,
                allow_redirects=False,
            )
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE" in str(error).upper() or "doesn't match" in str(error):
            raise untrusted(host) from None
        raise EngineUnreachable(f"No TLS connection to the engine at {host}: {_cause(error)}") from None
    except OSError as error:  # requests' own errors derive from it
        raise EngineUnreachable(
            f"No connection to the engine at {host}: {_cause(error)}",
            "Check the URL, name resolution, port 443 and whether the engine is up.",
        ) from None
    if response.status_code >= 500 or response.status_code == 429:
        raise EngineUnreachable(f"The engine at {host} answers {response.status_code}; it may be restarting.")
    try:
        body = response.json()
    except ValueError:
        raise EngineRefused(
            f"The login page of {host} answers {response.status_code} and no JSON.",
            "Is the URL that of an oVirt engine, as in https://engine.example.org/ovirt-engine/api?",
            status=response.status_code,
        ) from None
    if isinstance(body, list):
        body = body[0] if body else {}
    return body if isinstance(body, dict) else {}


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
    """The innermost reason, without the library's wrapping."""
    while True:
        inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        inner = inner or getattr(inner, "reason", None) or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return str(error).split(": ", 1)[-1]
        error = inner
