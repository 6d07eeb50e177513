"""Where a selftest makes its VM: the cluster and storage domain that were named, or the best there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from borg_ovirt.errors import UsageError
from borg_ovirt.jobs.selftest.known import SIZE
from borg_ovirt.ovirt.facts.inventory import list_hosts
from borg_ovirt.ovirt.facts.storage import ClusterFacts, DomainFacts, list_clusters, list_domains
from borg_ovirt.ovirt.session.engine import Engine

_ROOM = 8 * SIZE
"""For the disk, its copy, snapshots and scratch disks of backups, in bytes."""


@dataclass(frozen=True)
class TestPlace:
    """Where it is, and what is told of it."""

    cluster: ClusterFacts
    domain: DomainFacts
    hosts: int
    """Those of the cluster that are up, as far as the user may see them."""

    def __str__(self) -> str:
        level = ".".join(map(str, self.cluster.level))
        plural = "" if self.hosts == 1 else "s"
        return (
            f"cluster {self.cluster.name} (level {level}, {self.hosts} host{plural} up), "
            f"storage domain {self.domain.name} ({self.domain.type})"
        )


def choose_place(engine: Engine, cluster: str | None, domain: str | None) -> TestPlace:
    """Names or ids; `UsageError` where one is not there, or none will do."""
    clusters, domains = list_clusters(engine), list_domains(engine)
    hosts = list_hosts(engine)
    up = [host.cluster_id for host in hosts if host.status == "up"]
    usable = [d for d in domains if d.status == "active" and d.available >= d.reserve + _ROOM]
    if domain is not None:
        (chosen,) = _named(domain, domains, "storage domain")
        if chosen not in usable:
            raise UsageError(f"Storage domain {chosen.name} is not active, or has too little room.")
        usable = [chosen]
    wanted = _named(cluster, clusters, "cluster") if cluster is not None else clusters
    fit = [
        TestPlace(c, d, up.count(c.id))
        for c in wanted
        for d in usable
        if (c.id in up or not hosts) and d.data_center_id == c.data_center_id
    ]
    if not fit:
        where = f"cluster {cluster}" if cluster is not None else "any cluster"
        raise UsageError(
            f"In {where} there is no host that is up beside an active storage domain with room"
            f"{f' that is called {domain}' if domain is not None else ''}.",
            "Name others with --cluster and --storage-domain.",
        )
    return max(fit, key=lambda place: (place.cluster.level, place.domain.available - place.domain.reserve))


def _named(word: str, known: Sequence[ClusterFacts] | Sequence[DomainFacts], what: str) -> list[Any]:
    found = [one for one in known if word in (one.id, one.name)]
    if len(found) != 1:
        names = ", ".join(sorted(one.name for one in known))
        count = "more than one" if found else "no"
        raise UsageError(f"There is {count} {what} {word}.", f"Known: {names}.")
    return found
