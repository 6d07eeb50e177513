"""Faults on demand: what goes wrong in a real set-up, at the moment a test wants it."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Request, Response

from ovirtbox.faults import Fault, refusal
from ovirtbox.model import Disk, StorageDomain, Vm
from ovirtbox.processes import ToolFailed
from ovirtbox.restart import Restart, html_page
from ovirtbox.xml import API, empty, fault_reply

if TYPE_CHECKING:
    from ovirtbox.engine import EngineCore

WIRE = "ovirtbox.wire"
"""In the WSGI environment: what is sent instead of the answer, by the server that puts it there."""


@dataclass
class Wire:
    """What becomes of one answer on its way."""

    lost: bool = False
    """It is not sent: the connection is closed without a byte."""
    instead: int = 0
    """The status of a page that is sent in its place."""
    cut: Callable[[], None] = lambda: None
    """Closes the connection now."""


@dataclass
class _Rule:
    """What is done to some requests: from the nth that matches on, so many times."""

    name: str
    method: str
    path: str
    nth: int = 1
    times: int = 1
    status: int = 0
    body: str = "fault"
    detail: str | None = None
    seconds: float = 0.0
    cut: bool = False
    """The connection is closed before the request is carried out."""
    served: bool = False
    """The request is carried out first; only its answer is lost or another one."""
    seen: int = field(default=0)

    def hits(self, method: str, path: str) -> bool:
        relative = path.removeprefix(API) or "/"
        if self.method not in ("*", method):
            return False
        if not (fnmatch.fnmatchcase(path, self.path) or fnmatch.fnmatchcase(relative, self.path)):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times

    @property
    def spent(self) -> bool:
        return self.seen >= self.nth + self.times - 1


class Inject:
    """Each method arms one fault; `hits` counts what was done, by the name of the method."""

    def __init__(self) -> None:
        self._hits: Counter[str] = Counter()
        self._rules: list[_Rule] = []
        self._guard = threading.Lock()
        self._restart = Restart()
        self._bad_merges = 0
        self.engine: EngineCore | None = None

    @property
    def hits(self) -> Counter[str]:
        counted = Counter(self._hits)
        counted["drop_data"] = self._core.data.dropped()
        return counted

    @property
    def _core(self) -> EngineCore:
        assert self.engine is not None
        return self.engine

    # --- the wire ---

    def status(
        self,
        method: str,
        path: str,
        status: int,
        body: str = "fault",
        *,
        nth: int = 1,
        times: int = 1,
        detail: str | None = None,
    ) -> None:
        """The nth matching request (and `times` in all) gets this status instead of being served.

        `body`: `fault` (detail `[]` unless given), `html` or `empty`. Paths are globs, with or without
        the prefix of the API.
        """
        self._arm(_Rule("status", method, path, nth, times, status, body, detail))

    def latency(self, seconds: float, path: str = "*", method: str = "*", *, times: int = 1 << 30) -> None:
        """Matching requests wait before they are served."""
        self._arm(_Rule("latency", method, path, 1, times, seconds=seconds))

    def lose(self, method: str, path: str, *, nth: int = 1, times: int = 1) -> None:
        """The request is carried out, then the connection is closed without a byte of an answer.

        As when httpd, a balancer or a firewall goes away in between. libcurl sends a request again by itself
        when that happens on a connection that was used before [seen with 8.x and the SDK 4.6].
        """
        self._arm(_Rule("lose", method, path, nth, times, served=True))

    def cut(self, method: str, path: str, seconds: float, *, nth: int = 1, times: int = 1) -> None:
        """The connection is closed at once, and the request is carried out so much later all the same.

        As when something in between gives up on an engine that is slow, or has the request in a queue.
        """
        self._arm(_Rule("cut", method, path, nth, times, seconds=seconds, cut=True, served=True))

    def garble(self, method: str, path: str, status: int = 502, *, nth: int = 1, times: int = 1) -> None:
        """The request is carried out, and the answer is a page of the proxy in front."""
        self._arm(_Rule("garble", method, path, nth, times, status, "html", served=True))

    def clear(self) -> None:
        """Disarm what `status` and `latency` armed."""
        with self._guard:
            self._rules.clear()

    def _arm(self, rule: _Rule) -> None:
        with self._guard:
            self._rules.append(rule)

    def before(self, request: Request, *, only_asks: bool = False) -> Response | None:
        """Asked for every request from outside. One that only asks for a right (rights.py) is not among the
        requests that rules count.
        """
        answer = self._restart.answer(request)
        if answer is not None:
            return answer
        if only_asks:
            return None
        with self._guard:
            due = [rule for rule in self._rules if rule.hits(request.method, request.path)]
            self._rules = [rule for rule in self._rules if not rule.spent]
            for rule in due:
                self._hits[rule.name] += 1
        for rule in due:
            if rule.cut:
                request.environ[WIRE].cut()
            if rule.seconds:
                time.sleep(rule.seconds)
            if rule.served:
                wire: Wire = request.environ[WIRE]
                wire.lost, wire.instead = not rule.status, rule.status
            elif rule.status and answer is None:
                answer = _answer(rule)
        return answer

    # --- the data plane ---

    def drop_data(self, after_bytes: int, times: int = 1) -> None:
        """Data connections of transfers that start from now on are cut after so many bytes."""
        self._core.data.drop_data(after_bytes, times)

    def restart_imageio(self) -> None:
        """The host's daemon dies and comes back without its tickets."""
        self._core.data.restart_imageio()
        self._hits["restart_imageio"] += 1

    def restart_engine(
        self, seconds: float = 0.0, *, stopping: float = 0.0, settling: float = 0.0, database: bool = False
    ) -> None:
        """The engine is away for a while (503), then knows no session; backups with a chosen id fail.

        `stopping`: before that it refuses for so long, with Java names and "not found" (2-3 s when seen).
        `settling`: for so long after it is healthy again it does not know the state of its storage domains
        (9 s when seen). `database`: only PostgreSQL is away, and the engine stays unhealthy.
        """
        engine = self._core
        self._restart = Restart(time.monotonic(), stopping, seconds, database=database)
        if settling:
            domains = [d for d in engine.world.domains.values() if d.status == "active"]
            self._restart.settle(domains, settling)
        with engine.world.lock:
            engine.tokens.clear()
            for call in engine.on_restart:
                call()
        self._hits["restart_engine"] += 1

    def fill_domain(self, name: str, full: bool = True) -> None:
        """No new volumes, and writes that grow a volume fail."""
        domains: list[StorageDomain] = [d for d in self._core.world.domains.values() if d.name == name]
        assert domains, f"no storage domain {name}"
        domains[0].full = full
        self._hits["fill_domain"] += 1

    def fail_merges(self, times: int = 1) -> None:
        """The next merges of snapshots fail on the host."""
        self._bad_merges = times

    def merging(self) -> None:
        """A merge begins on the host."""
        if self._bad_merges:
            self._bad_merges -= 1
            self._hits["fail_merges"] += 1
            raise ToolFailed("the merge failed on the host")

    # --- checkpoints ---

    def lose_bitmap(self, vm: Vm, checkpoint: str) -> None:
        """The dirty bitmap of one checkpoint is gone from all disks; the engine does not know it."""
        for disk in self._disks(vm):
            self._core.data.remove_bitmap(disk, checkpoint)
        self._hits["lose_bitmap"] += 1

    def lose_checkpoints(self, vm: Vm) -> None:
        """All dirty bitmaps are gone, as after a crash; the next incremental backup finds out."""
        for checkpoint in list(self._core.world.checkpoints.get(vm.id, [])):
            for disk in self._disks(vm):
                self._core.data.remove_bitmap(disk, checkpoint.id)
        self._hits["lose_checkpoints"] += 1

    def lying_bitmap(self, disk: Disk) -> None:
        """The next write to the disk leaves no trace in any dirty bitmap."""
        self._core.data.lie_about_next_write(disk.id)
        self._hits["lying_bitmap"] += 1

    def _disks(self, vm: Vm) -> list[Disk]:
        world = self._core.world
        return [d for a in vm.attachments if (d := world.disks[a.disk_id]).layers and d.format == "cow"]


def _answer(rule: _Rule) -> Response:
    if rule.body == "html":
        return html_page(rule.status)
    if rule.body == "empty":
        return empty(rule.status)
    if rule.detail is not None:
        return fault_reply(Fault(rule.status, rule.detail))
    return fault_reply(refusal(rule.status))
