"""Whether data can come at all: the certificates of host and proxy, looked at before anything is locked."""

from __future__ import annotations

import logging
import weakref

from borg_ovirt.errors import CertificateError, EngineRefused, EngineUnreachable, NotAuthorized
from borg_ovirt.ovirt.facts.inventory import list_hosts
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.session.certificate import certificate_end
from borg_ovirt.ovirt.session.engine import Engine

log = logging.getLogger(__name__)

HOST_PORT = 54322
PROXY_PORTS = (54323, 54322)
"""Where the imageio daemons of hosts answer, and the engine's proxy: one of these, by its version."""
_TIMEOUT = 5.0

_looked: weakref.WeakKeyDictionary[Engine, dict[tuple[str, int], CertificateError | EngineUnreachable | None]]
_looked = weakref.WeakKeyDictionary()
_silent: weakref.WeakSet[Engine] = weakref.WeakSet()


def prove_way(engine: Engine, vm: VmFacts) -> None:
    """`CertificateError` where no host that may give out the VM's disks has a certificate to trust, and the
    engine's proxy is no way round. A host that does not answer proves nothing, it may be the proxy's turn; no
    other is asked in this session then.
    """
    if engine in _silent:
        return
    try:
        up = [host for host in list_hosts(engine) if host.status == "up" and host.address]
    except (EngineRefused, NotAuthorized):
        return
    mine = [host for host in up if host.id == vm.host_id] if vm.status == "up" else up
    refusal = None
    for host in mine:
        problem = _problem(engine, host.address, HOST_PORT)
        if isinstance(problem, EngineUnreachable):
            _silent.add(engine)
        if not isinstance(problem, CertificateError):
            return
        refusal = refusal or problem
    if refusal is None:
        return
    if all(_problem(engine, engine.host, port) for port in PROXY_PORTS):
        raise refusal
    log.warning("VM %s: %s Its disks come through the engine's proxy.", vm.name, refusal.message)


def _problem(engine: Engine, host: str, port: int) -> CertificateError | EngineUnreachable | None:
    """What is wrong there; asked once in a session."""
    known = _looked.setdefault(engine, {})
    if (host, port) not in known:
        try:
            certificate_end(host, port, engine.ca_file, _TIMEOUT)
        except (CertificateError, EngineUnreachable) as error:
            known[host, port] = error
        else:
            known[host, port] = None
    return known[host, port]
