"""Which ports doctor tries: the proxy is the one that the engine names, where it names one."""

from __future__ import annotations

from typing import Any

import pytest

from borg_ovirt.errors import EngineUnreachable
from borg_ovirt.jobs.health import doctor_ports
from borg_ovirt.ovirt.facts.inventory import HostFacts


class Site:
    host = "engine.example"
    ca_file = None


@pytest.mark.parametrize(
    ("named", "port", "tried", "found"),
    [
        (["https://proxy.example:54322/images/x"], None, [("proxy.example", 54322)], "proxy.example:54322"),
        ([], None, [("engine.example", 54323), ("engine.example", 54322)], "engine.example:54322"),
        (["https://proxy.example:54322/images/x"], 444, [("engine.example", 444)], None),
    ],
)
def test_the_proxy_that_is_named(
    monkeypatch: pytest.MonkeyPatch,
    named: list[str],
    port: int | None,
    tried: list[tuple[str, int]],
    found: str | None,
) -> None:
    asked: list[tuple[str, int]] = []

    def end(host: str, number: int, ca_file: str | None) -> None:
        asked.append((host, number))
        if number != 54322:
            raise EngineUnreachable("refused")

    site: Any = Site()
    monkeypatch.setattr(doctor_ports, "certificate_end", end)
    monkeypatch.setattr(doctor_ports, "named_proxies", lambda _: named)
    monkeypatch.setattr(doctor_ports, "list_hosts", lambda _: [HostFacts("h", "h1", "h1.example", "up")])
    findings = {f.about: f for f in doctor_ports.look_at_ports(site, 54322, port)}
    assert asked == [*tried, ("h1.example", 54322)]
    assert (found or "refused") in findings["proxy"].text
