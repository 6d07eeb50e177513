"""Certificates of servers: what is wrong with one, and when it expires."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from datetime import datetime, timezone

from borg_ovirt.errors import CertificateError, EngineUnreachable

_TIMEOUT = 15.0
_FETCH = "`borg-ovirt doctor --fetch-ca FILE` fetches the engine's CA to compare and to pin."
_EXPIRED = re.compile(r"has expired", re.IGNORECASE)
_NOT_YET = re.compile(r"not yet valid", re.IGNORECASE)
_OTHER_NAME = re.compile(r"mismatch|does ?n.t match|does not match|no alternative certificate", re.IGNORECASE)
_NOT_READ = re.compile(r"verify locations|CAfile|CA file", re.IGNORECASE)


def certificate_error(host: str, reason: str) -> CertificateError:
    """What is wrong with the certificate of a server; `reason` is what OpenSSL or libcurl says of it."""
    if _EXPIRED.search(reason):
        return CertificateError(
            f"The certificate of {host} (or of the CA that signed it) has expired.",
            "Renew it, on an engine with engine-setup, for a host with Enroll Certificate; or set this "
            "machine's clock, if that is ahead.",
        )
    if _NOT_YET.search(reason):
        return CertificateError(
            f"The certificate of {host} (or of the CA that signed it) is not yet valid.",
            "Set the clock of this machine, or of the one that made the certificate.",
        )
    if _OTHER_NAME.search(reason):
        return CertificateError(
            f"The certificate of {host} is for another name.",
            "Use the name that the certificate bears, as in the address of the engine's web interface.",
        )
    if _NOT_READ.search(reason):
        return CertificateError("The CA file given cannot be read.", "Allow reading it, and more open files.")
    return CertificateError(
        f"The certificate of {host} was not signed by the CA given.",
        f"{_FETCH} Where its web server has a certificate of another CA, put both CAs into the file.",
    )


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A context that trusts the CAs of the file, or those of the system."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise CertificateError(
            f"The CA file {ca_file} holds no certificate that can be used.", _FETCH
        ) from None
    except OSError as error:
        raise CertificateError(f"The CA file {ca_file} cannot be read: {error.strerror}.") from None


def certificate_end(host: str, port: int, ca_file: str | None, timeout: float = _TIMEOUT) -> datetime:
    """Make a TLS connection, as data connections are made (no proxy of the environment), and return when the
    server's certificate expires. Each step of it may take `timeout` seconds.

    Raises `CertificateError` when it is not one to trust, `EngineUnreachable` when nobody answers.
    """
    context = tls_context(ca_file)
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            certificate = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise certificate_error(f"{host}:{port}", error.verify_message) from None
    except OSError as error:
        raise EngineUnreachable(f"{host}:{port} cannot be reached: {error}.") from None
    return expiry(certificate)


def expiry(certificate: Mapping[str, object]) -> datetime:
    """When a certificate, as `ssl` tells it, expires."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), timezone.utc)
