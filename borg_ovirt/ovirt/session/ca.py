"""The engine's certificate and its CA: asked of the engine itself, the CA believed by its fingerprint."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from borg_ovirt.errors import CertificateError, EngineUnreachable, UsageError
from borg_ovirt.ovirt.session.certificate import expiry
from borg_ovirt.ovirt.session.web import ask

CA_RESOURCE = "/ovirt-engine/services/pki-resource?resource=ca-certificate&format=X509-PEM-CA"
_TIMEOUT = 15.0


@dataclass(frozen=True)
class FetchedCa:
    """A CA as the engine offers it; nobody has vouched for it yet."""

    pem: str
    fingerprint: str
    """SHA-256 of the certificate, in colon-separated hex."""


def fetch_ca(api_url: str) -> FetchedCa:
    """Ask the engine for its CA over a connection that nothing proves: compare the fingerprint before use."""
    host = urlsplit(api_url).hostname or ""
    reply = ask(urljoin(api_url, CA_RESOURCE), ca_file=None, timeout=_TIMEOUT, unproven=True)
    text = reply.body.decode("ascii", "replace")
    if reply.status != 200 or "-----BEGIN CERTIFICATE-----" not in text:
        raise EngineUnreachable(
            f"The engine at {host} offers no CA at {CA_RESOURCE} (status {reply.status})."
        )
    try:
        return FetchedCa(text, fingerprint(text))
    except ValueError:
        raise EngineUnreachable(f"What the engine at {host} offers as its CA is no certificate.") from None


def engine_certificate_end(api_url: str, ca_file: str | None) -> datetime:
    """When the certificate of the engine's web server expires; the connection is made as for a login.

    Raises `CertificateError` when it is not one to trust, `EngineUnreachable` when nobody answers.
    """
    reply = ask(urljoin(api_url, CA_RESOURCE), ca_file=ca_file, timeout=_TIMEOUT)
    if not reply.certificate:
        raise EngineUnreachable(f"{api_url} shows no certificate.", "Use https://.")
    return expiry(reply.certificate)


def fingerprint(pem: str) -> str:
    """The SHA-256 fingerprint of the first certificate, as `openssl x509 -fingerprint -sha256` prints it."""
    end = "-----END CERTIFICATE-----"
    start = pem.index("-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[start : pem.index(end, start) + len(end)])
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def pin_ca(fetched: FetchedCa, expected: str, target: Path) -> None:
    """Write the CA to a file, if its fingerprint is the expected one; an existing file is not replaced."""
    check_fingerprint(fetched, expected)
    try:
        with target.open("x", encoding="ascii") as out:
            out.write(fetched.pem)
    except FileExistsError:
        raise UsageError(f"{target} exists.", "Remove it first if it should be replaced.") from None


def check_fingerprint(fetched: FetchedCa, expected: str) -> None:
    """`CertificateError` where the CA is not the one that the user knows; any spelling in hex will do."""
    wanted = expected.replace(":", "").replace(" ", "").upper()
    if len(wanted) != 64:
        raise UsageError("A SHA-256 fingerprint has 64 hexadecimal digits.")
    if wanted != fetched.fingerprint.replace(":", ""):
        raise CertificateError(
            f"The CA that was fetched has the fingerprint {fetched.fingerprint}, not the one expected.",
            "Somebody may sit between you and the engine; nothing was written.",
        )
