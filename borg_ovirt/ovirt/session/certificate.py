"""The engine's CA: fetched from the engine itself, and believed only by its fingerprint."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from borg_ovirt.errors import CertificateError, EngineUnreachable, UsageError

_PATH = "/ovirt-engine/services/pki-resource?resource=ca-certificate&format=X509-PEM-CA"
_TIMEOUT = 15.0


@dataclass(frozen=True)
class FetchedCa:
    """A CA as the engine offers it; nobody has vouched for it yet."""

    pem: str
    fingerprint: str
    """SHA-256 of the certificate, in colon-separated hex."""


def fetch_ca(api_url: str) -> FetchedCa:
    """Ask the engine for its CA over a connection that nothing proves: compare the fingerprint before use."""
    host, port = _place(api_url)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context)
    try:
        connection.request("GET", _PATH)
        reply = connection.getresponse()
        text = reply.read(1 << 20).decode("ascii", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise EngineUnreachable(f"The CA of the engine at {host} cannot be fetched: {error}") from None
    finally:
        connection.close()
    if reply.status != 200 or "-----BEGIN CERTIFICATE-----" not in text:
        raise EngineUnreachable(f"The engine at {host} offers no CA at {_PATH} (status {reply.status}).")
    try:
        return FetchedCa(text, fingerprint(text))
    except ValueError:
        raise EngineUnreachable(f"What the engine at {host} offers as its CA is no certificate.") from None


def fingerprint(pem: str) -> str:
    """The SHA-256 fingerprint of the first certificate, as `openssl x509 -fingerprint -sha256` prints it."""
    end = "-----END CERTIFICATE-----"
    start = pem.index("-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[start : pem.index(end, start) + len(end)])
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def pin_ca(fetched: FetchedCa, expected: str, target: Path) -> None:
    """Write the CA to a file, if its fingerprint is the expected one; an existing file is not replaced."""
    wanted = expected.replace(":", "").replace(" ", "").upper()
    if len(wanted) != 64:
        raise UsageError("A SHA-256 fingerprint has 64 hexadecimal digits.")
    if wanted != fetched.fingerprint.replace(":", ""):
        raise CertificateError(
            f"The CA that was fetched has the fingerprint {fetched.fingerprint}, not the one expected.",
            "Somebody may sit between you and the engine; nothing was written.",
        )
    try:
        with target.open("x", encoding="ascii") as out:
            out.write(fetched.pem)
    except FileExistsError:
        raise UsageError(f"{target} exists.", "Remove it first if it should be replaced.") from None


def certificate_end(host: str, port: int, ca_file: str | None) -> datetime:
    """Make a TLS connection and return when the server's certificate expires.

    Raises `CertificateError` when the CA did not sign it, `EngineUnreachable` when nobody answers.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise CertificateError(f"The CA file {ca_file} holds no certificate that can be used.") from None
    try:
        with (
            socket.create_connection((host, port), _TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            told = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(
            f"The certificate of {host}:{port} is not trusted: {error.verify_message}."
        ) from None
    except OSError as error:
        raise EngineUnreachable(f"{host}:{port} cannot be reached: {error}.") from None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told["notAfter"])), timezone.utc)


def _place(api_url: str) -> tuple[str, int]:
    parts = urlsplit(api_url)
    return parts.hostname or "", parts.port or 443
