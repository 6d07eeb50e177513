"""What doctor finds of the ports that data comes through: those of the hosts, and the engine's proxy."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.ovirt.facts.inventory import list_hosts, named_proxies
from borg_ovirt.ovirt.session.certificate import certificate_end
from borg_ovirt.ovirt.session.engine import Engine

PROXY_PORTS = (54323, 54322)


def look_at_ports(engine: Engine, host_port: int, proxy_port: int | None) -> Iterator[Finding]:
    """Whether the hosts and the proxy answer with a certificate that is trusted."""
    address, proxy = _proxy(engine, proxy_port)
    hosts = [host for host in list_hosts(engine) if host.status == "up"]
    unreached = 0
    for host in hosts:
        problem = _reach(host.address, host_port, engine.ca_file)
        name = f"{host.name} ({host.address}:{host_port})"
        if problem is None:
            yield ok("host", f"{name} answers")
            continue
        unreached += 1
        text = f"{name}: {problem}"
        if proxy is None:
            yield warn("host", text, "Its disks come through the engine's proxy: slower. Open the port.")
        else:
            yield failed("host", text, "Open the port to this machine.")
    if proxy is None:
        yield ok("proxy", f"{address} answers")
    elif hosts and not unreached:
        yield warn("proxy", f"{address}: {proxy}", "Not needed while every host can be reached directly.")
    else:
        yield failed("proxy", f"{address}: {proxy}", "Open the port, or that of the hosts.")
    if not hosts:
        yield warn("host", "no host is up, or the user sees none", "A backup needs a host that is up.")


def _proxy(engine: Engine, port: int | None) -> tuple[str, str | None]:
    """The proxy's address and what is wrong with it. Open transfers name it; else one of the usual ports is
    right: engines without a proxy of their own name that of a host, on the engine.
    """
    named = [urlsplit(url) for url in named_proxies(engine)] if port is None else []
    places = [(parts.hostname, parts.port or 443) for parts in named if parts.hostname]
    if not places:
        places = [(engine.host, number) for number in ((port,) if port else PROXY_PORTS)]
    problems = {}
    for host, number in places:
        problem = _reach(host, number, engine.ca_file)
        if problem is None:
            return f"{host}:{number}", None
        problems[f"{host}:{number}"] = problem
    return ", ".join(problems), "; ".join(dict.fromkeys(problems.values()))


def _reach(host: str, port: int, ca_file: str | None) -> str | None:
    try:
        certificate_end(host, port, ca_file)
    except BorgOvirtError as error:
        return error.message
    return None
