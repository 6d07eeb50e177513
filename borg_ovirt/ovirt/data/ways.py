"""Whether data can come at all: the certificates of host and proxy, looked at before anything is locked."""

from __future__ import annotations

import logging
import weakref
from dataclasses import dataclass, field

from borg_ovirt.errors import CertificateError, EngineRefused, EngineUnreachable, NotAuthorized
from borg_ovirt.ovirt.facts.inventory import list_hosts
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.session.certificate import certificate_end
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound

log = logging.getLogger(__name__)

PROXY_PORTS = (54323, 54322)
"""Where the engine's proxy answers: one of these, by its version."""
_TIMEOUT = 5.0

Problem = CertificateError | EngineUnreachable | None


@dataclass
class _Looks:
    """What a session has seen: each address is asked once."""

    host_port: int
    """0: the engine does not tell."""
    seen: dict[tuple[str, int], Problem] = field(default_factory=dict)
    silent: bool = False
    """A host did not answer: then none is asked any more."""


_looks: weakref.WeakKeyDictionary[Engine, _Looks] = weakref.WeakKeyDictionary()


def prove_way(engine: Engine, vm: VmFacts) -> None:
    """`CertificateError` where no host that may give out the VM's disks has a certificate to trust, and the
    engine's proxy is no way round. A host that does not answer proves nothing: it may be the proxy's turn.
    """
    if engine not in _looks:
        _looks[engine] = _Looks(_host_port(engine))
    looks = _looks[engine]
    refusal = None if looks.silent or not looks.host_port else _refusal(engine, looks, vm)
    if refusal is None:
        return
    if all(_problem(engine, looks, engine.host, port) for port in PROXY_PORTS):
        raise refusal
    log.warning("VM %s: %s Its disks come through the engine's proxy.", vm.name, refusal.message)


def _refusal(engine: Engine, looks: _Looks, vm: VmFacts) -> CertificateError | None:
    """What is wrong with the certificates of all its hosts; None where one of them may be good."""
    try:
        up = [host for host in list_hosts(engine) if host.status == "up" and host.address]
    except (EngineRefused, NotAuthorized):
        return None
    refusal = None
    for host in up:
        if vm.status != "up" or host.id == vm.host_id:
            problem = _problem(engine, looks, host.address, looks.host_port)
            looks.silent = looks.silent or isinstance(problem, EngineUnreachable)
            if not isinstance(problem, CertificateError):
                return None
            refusal = refusal or problem
    return refusal


def _host_port(engine: Engine) -> int:
    """Where the imageio daemons of hosts answer: 54322, unless the engine was told otherwise. Any user may
    ask (GetSystemOptionQuery)."""
    try:
        option = engine.call(
            "read the option ImageDaemonPort",
            lambda s: s.options_service().option_service("ImageDaemonPort").get(),
        )
        return int(option.values[0].value)
    except (EngineRefused, NotAuthorized, NotFound, TypeError, ValueError, IndexError):
        return 0


def _problem(engine: Engine, looks: _Looks, host: str, port: int) -> Problem:
    if (host, port) not in looks.seen:
        try:
            certificate_end(host, port, engine.ca_file, _TIMEOUT)
        except (CertificateError, EngineUnreachable) as error:
            looks.seen[host, port] = error
        else:
            looks.seen[host, port] = None
    return looks.seen[host, port]
