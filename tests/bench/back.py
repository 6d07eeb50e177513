"""The cases of coming back: a rollback in place, and archived disks that are served and not extracted."""

from __future__ import annotations

import random
import socket
import statistics
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ovirtbox.nbdclient import NbdClient

from bench.cases import Result, Scale, per_transport
from bench.data import GIB, MIB, changes_of_data
from bench.measure import Cost, Service, median
from bench.stage import Stage, Subject

CASES = ("rollback", "serve")
_PIECE = 64 << 10
_READS = 200


def all_cases(stage: Stage, scale: Scale, chosen: Collection[str]) -> Iterator[Result]:
    if "rollback" in chosen:
        yield from rollback(stage, scale)
    if "serve" in chosen:
        yield first_bytes(stage, scale)
        yield from reading(stage, scale)


def rollback(stage: Stage, scale: Scale) -> Iterator[Result]:
    """1 % of the virtual size differs, all of it under data. A full restore of what data there is is
    multiplied to a disk that is full: its time without what a dry run takes."""
    mode, packing = scale.matrix[0]
    amount, data = scale.wide // 100, scale.wide // 16
    grows = 2 * scale.repeats * amount + data
    subject = stage.subject(
        "back", "mostly duplicate", scale.wide, data, seed=6, backup="incremental", grows=grows
    )
    stage.fresh_repository(mode)
    archive = stage.archive(subject, packing)
    runs: dict[str, list[Cost]] = {"tls": [], "unix": [], "i": []}
    factors, fulls = [], scale.wide / subject.data
    for number in range(scale.repeats):
        for turn, transport in enumerate(("tls", "unix")):
            stage.transport(transport)
            seed = 500 + 2 * number + turn
            stage.change(subject, changes_of_data(scale.wide, subject.data, amount, seed))
            runs[transport].append(stage.rollback(subject, archive))
        whole, start = stage.restore(subject, archive), stage.plan_restore(subject, archive).wall
        factors.append((start + (whole.wall - start) * fulls) / whole.wall)
        runs["i"].append(whole)
    stage.drop(subject)
    medians = {name: median(costs) for name, costs in runs.items()}
    facts = {"virtual": scale.wide, "changed": amount, "bytes": medians["unix"].moved / scale.wide}
    # Of a smaller disk the start is most of it.
    goals = {"i": 0.05} if scale.wide >= 64 * GIB else {}
    case = f"rollback, 1 % of {scale.wide // GIB} GiB"
    wanted = {"tls": goals, "unix": goals}
    yield from per_transport(case, medians, runs, wanted, facts, {"i": statistics.median(factors)})


def first_bytes(stage: Stage, scale: Scale) -> Result:
    """From the start of the command to the first 64 KiB of a thin disk in a client's hands."""
    mode, packing = scale.matrix[0]
    size = max(scale.thin)
    subject = stage.subject("served", "file-system-like", size, scale.disk // 4, seed=7)
    stage.fresh_repository(mode)
    archive = stage.archive(subject, packing)
    stage.drop(subject)
    runs = []
    for _ in range(scale.repeats):
        with _served(stage, subject, archive) as (service, path):
            client = NbdClient(path, "")
            client.read(0, _PIECE)
            runs.append(service.cost(moved=_PIECE))
            client.close()
    limit = Cost(2.0, 0.0, 0.0, 0)
    result = Result(f"serve, first 64 KiB of {size // GIB} GiB", "", {"ours": median(runs)}, {"ours": runs})
    result.ways["limit"], result.goals["limit"] = limit, 1.0
    result.memory = 400 * MIB
    return result


def reading(stage: Stage, scale: Scale) -> Iterator[Result]:
    """One after the other against `borg extract`, and at random."""
    mode, packing = scale.matrix[0]
    subject = stage.subject("read", "file-system-like", scale.disk, scale.disk // 2, seed=8)
    stage.fresh_repository(mode)
    archive = stage.archive(subject, packing)
    runs: dict[str, list[Cost]] = {"ours": [], "e": []}
    scattered = []
    for number in range(scale.repeats):
        with _served(stage, subject, archive) as (service, path):
            client = NbdClient(path, "")
            client.read(0, _PIECE)
            service.restart()
            for place in _places(subject, number):
                client.read(place, _PIECE)
            scattered.append(service.cost(moved=_READS * _PIECE))
            client.close()
        with _served(stage, subject, archive) as (service, path):
            target = stage.scratch / "copied.raw"
            copy, _ = stage.meter.run(["nbdcopy", f"nbd+unix:///?socket={path}", str(target)])
            served = service.cost(moved=subject.data)
            copy.client, copy.rss, copy.moved = copy.client + served.client, served.rss, subject.data
            runs["ours"].append(copy)
            target.unlink()
        whole, file = stage.borg_extract(subject, archive)
        runs["e"].append(whole)
        file.unlink()
    stage.drop(subject)
    facts = {"data": subject.data}
    medians = {name: median(costs) for name, costs in runs.items()}
    memory = 600 * MIB  # a cache of 256 MiB besides
    yield Result("serve, copied by nbdcopy", "", medians, runs, {"e": 2.0}, facts, memory=memory)
    random_reads = {"ours": median(scattered)}
    case = f"serve, {_READS} random reads of 64 KiB"
    yield Result(case, "", random_reads, {"ours": scattered}, {}, facts, memory=memory)


def _places(subject: Subject, seed: int) -> Iterator[int]:
    """Anywhere under data, one at a time."""
    source = random.Random(seed)
    for _ in range(_READS):
        run = source.randrange(subject.data // (64 * MIB))
        start = run * 64 * MIB * subject.size // subject.data // MIB * MIB
        yield start + source.randrange(64 * MIB // _PIECE) * _PIECE


@contextmanager
def _served(stage: Stage, subject: Subject, archive: str) -> Iterator[tuple[Service, Path]]:
    """A server of that disk, which listens."""
    directory = stage.root / "nbd"
    words = ["borg-ovirt", "serve", "--socket-dir", str(directory), f"{stage.repo}::{archive}"]
    with stage.meter.service(words) as service:
        path = directory / f"{subject.disk.alias}.nbd"
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(str(path)):
                service.check()
                time.sleep(0.005)
        yield service, path
