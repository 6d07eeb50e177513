"""The order of a backup is its promise: nothing is visible before all is there, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.errors import CheckpointLost, TransferFailed
from borg_ovirt.jobs.backup import create as module
from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult, create
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.progress import Progress
from borg_ovirt.repository import layout

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
VM_ID = "11111111-1111-4111-8111-111111111111"
DISK_ID = "aaaaaaaa-0000-4000-8000-000000000001"
DISK = DiskFacts(DISK_ID, "root", 64, "cow", True, "image")
VM = VmFacts(VM_ID, "web01", "up", "22222222-2222-4222-8222-222222222222", "Default", (4, 6), disks=(DISK,))


class Bench:
    """What a backup stands on, each step written down; `fail` raises at one of them."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.choices: list[str | None] = []
        self.comment: Any = None
        self.manifest: Any = None
        self.left: list[tuple[str, str]] = []
        """Kind and VM of what could not be ended."""

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fail:
            raise self.fail[name]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()

    def doing(name: str, result: Any) -> Callable[..., Any]:
        def do(*_: object, **__: object) -> Any:
            made.step(name)
            return result

        return do

    @contextmanager
    def capture(
        engine: object, vm: object, disks: object, choice: Choice, *_: object, **__: object
    ) -> Iterator[Any]:
        made.choices.append(choice.base.name if choice.base else None)
        made.step("capture")
        captured = SimpleNamespace(
            vm=VM,
            instant=NOON,
            method="live backup",
            method_reason="the engine's own",
            consistency="frozen",
            backup_id=None,
            from_checkpoint=None,
            to_checkpoint=None,
            left_out=[],
            disks=[SimpleNamespace(facts=DISK, method="live backup", layers=[])],
            finish=lambda: made.step("finish"),
            wait_merge=list,
            engine=SimpleNamespace(host="engine.example", instance_id="engine-1", full_version="4.5"),
        )
        try:
            yield captured
        finally:
            made.steps.append("left the capture")

    class Items:
        def __init__(self, captured: Any, *_: object) -> None:
            layer = SimpleNamespace(facts=None, incremental=False)
            item = SimpleNamespace(layer=layer, plan=SimpleNamespace(size=64), reason=None, base=None)
            self.cell = 64
            self.disks = [
                SimpleNamespace(
                    facts=DISK,
                    disk=captured.disks[0],
                    items=[item],
                    name="root",
                    mismatches=0,
                    sampled=0,
                    kind_asked="full",
                    reuses=False,
                )
            ]

        def lay_out(self, choice: object) -> None:
            made.step("lay out")

        def check(self, disk: object, buffers: object) -> None:
            made.step("check")

        def seconds_left(self) -> float:
            return 0.0

        def size_held(self) -> int:
            return 64

        def read_ahead(self, buffers: object) -> None:
            made.step("read ahead")

        def store(self, *_: object) -> DownloadStats:
            made.step("store")
            return DownloadStats(bytes_read=64)

    monkeypatch.setattr(module, "find_vm", doing("find", VM))
    monkeypatch.setattr(module, "fetch_ovf", doing("ovf", b"<ovf/>"))
    monkeypatch.setattr(module, "read_settings", doing("settings", None))
    monkeypatch.setattr(module, "base_query", doing("query", None))
    monkeypatch.setattr(module, "domain_names", doing("domains", {}))
    monkeypatch.setattr(module, "drop_unneeded", doing("drop checkpoints", []))
    monkeypatch.setattr(module, "drop_lost", doing("drop the lost one", None))
    monkeypatch.setattr(module, "capture", capture)
    monkeypatch.setattr(module, "Items", Items)
    monkeypatch.setattr(module, "manifest", doing("manifest", "the manifest"))
    return made


class Store:
    ids = ("repo",)

    def __init__(self, bench: Bench, base: str | None = None) -> None:
        self._bench = bench
        found: Any = SimpleNamespace(name=base, checkpoint="cp-1", record=None, last_read=None)
        self._choice = Choice(found if base else None, None if base else "first backup", fallback=False)

    def needed(self, vm_id: str, engine: object) -> set[str]:
        return {"cp-1"}

    def still_needed(self) -> set[str]:
        return set()

    def choose(self, query: object) -> Choice:
        return self._choice

    def all_names(self) -> set[str]:
        return set()

    def losses(self) -> list[str]:
        return []

    def stored(self) -> list[Any]:
        return []

    @contextmanager
    def writer(self, name: str, *, started: datetime) -> Iterator[Any]:
        assert started == NOON, "the archive's time is the instant"
        self._bench.step("begin archive")
        yield SimpleNamespace(
            name=name,
            add_file=lambda path, data: self._bench.step(f"file {path}"),
            commit=lambda manifest: self._bench.step("commit"),
        )
        self._bench.steps.append("left the archive")


def back_up(bench: Bench, base: str | None = None) -> CreateResult:
    store: Any = Store(bench, base)
    engine: Any = SimpleNamespace(identity=("id", "engine"))
    journal: Any = SimpleNamespace(holds=lambda kind, vm: (kind, vm) in bench.left)
    return create(store, engine, "web01", CreateOptions(), journal, Progress())


def test_the_order_that_is_promised(bench: Bench) -> None:
    result = back_up(bench)
    assert result.archive.startswith("web01-2026-03-01T120000Z")
    assert bench.steps == [
        "find",
        "ovf",
        "settings",
        "query",
        "domains",
        "capture",
        "lay out",
        "begin archive",
        f"file {layout.OVF}",
        "check",
        "store",
        "finish",
        "manifest",
        "commit",
        "left the archive",
        "left the capture",
    ]


@pytest.mark.parametrize("where", ["capture", "lay out", "check", "store", "finish", "commit"])
def test_whatever_fails_there_is_no_archive_and_no_checkpoint_of_it(bench: Bench, where: str) -> None:
    bench.fail[where] = TransferFailed("It broke.")
    with pytest.raises(TransferFailed):
        back_up(bench)
    assert "commit" not in bench.steps[: bench.steps.index(where)]
    assert "left the archive" not in bench.steps
    assert bench.steps[-1] == "drop checkpoints"


def test_no_checkpoint_is_removed_while_a_backup_is_open(bench: Bench) -> None:
    """It could not be ended: the engine would refuse for minutes."""
    bench.left = [("backup", VM_ID)]
    bench.fail["finish"] = TransferFailed("It broke.")
    with pytest.raises(TransferFailed):
        back_up(bench)
    assert "drop checkpoints" not in bench.steps


@pytest.mark.parametrize("where", ["capture", "lay out", "store"])
def test_a_lost_checkpoint_is_followed_by_a_full_read_in_the_same_run(bench: Bench, where: str) -> None:
    done: list[str] = []

    def once(name: str) -> None:
        bench.steps.append(name)
        if name == where and name not in done:
            done.append(name)
            raise CheckpointLost("It is gone.")

    bench.step = once  # type: ignore[method-assign]
    result = back_up(bench, base="web01-1")
    assert bench.choices == ["web01-1", None]
    assert result.reason == "It is gone."
    assert bench.steps.count("commit") == 1
    assert bench.steps.count("ovf") == 1
    again = len(bench.steps) - bench.steps[::-1].index("capture") - 1
    assert bench.steps[again - 1] == "drop the lost one", "later that could cost the new one"
