"""One VM of a run, whatever becomes of it: its hooks, the engine's log, its lock, what the outcome says."""

from __future__ import annotations

import signal
import threading
import time as clock
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.cli.signals import SignalReceived
from borg_ovirt.config.schema import Limits
from borg_ovirt.errors import HookFailed, RepositoryLocked, TransferFailed
from borg_ovirt.jobs.backup.opened import RepositoryState
from borg_ovirt.jobs.backup.stores import Stored
from borg_ovirt.jobs.runs import audit, turns
from borg_ovirt.jobs.runs.merges import PendingMerges
from borg_ovirt.jobs.runs.outcome import RepositoryOutcome, RunResult, VmOutcome
from borg_ovirt.jobs.runs.plan import window_end
from borg_ovirt.jobs.runs.slots import try_lock
from borg_ovirt.ovirt.session.waiting import Patience
from borg_ovirt.progress import Progress

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Bench:
    """What a VM's turn stands on; each step is written down, and `fail` raises at one of them."""

    def __init__(self, state: Path) -> None:
        self.steps: list[str] = []
        self.fail: dict[str, BaseException] = {}
        self.hurried = False
        self.lost: str | None = None
        self.stored = [Stored("/srv/a", "web01-1")]
        self.warnings: list[str] = []
        self.merges = PendingMerges()
        self.until: datetime | None = None
        self.state = state
        self.states = [RepositoryState("a", "/srv/a", None)]
        self.told: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fail:
            raise self.fail[name]

    # the hooks
    def call(self, when: str, facts: dict[str, Any]) -> list[str]:
        assert facts["vm_name"] == "web01"
        self.step(when)
        return []

    def any_at(self, when: str) -> bool:
        return True

    def hurry(self) -> None:
        self.hurried = True

    # the repositories
    @property
    def all_lost(self) -> str | None:
        return self.lost

    def recover(self, warn: object) -> None:
        self.steps.append("recover")

    def store(self) -> None:
        return None

    def conclude(self, store: object, error: Exception | None) -> bool:
        self.steps.append("conclude well" if error is None else "conclude failed")
        return True

    def back_up(self, *_: object) -> list[Any]:
        self.step("back up")
        return [
            SimpleNamespace(
                archive="web01-1",
                kind="full",
                reason="first",
                method="live backup",
                consistency="frozen",
                disks=[],
                skipped=[],
                warnings=self.warnings,
                stored=self.stored,
                wait_for_merge=lambda: self.steps.append("merge") or [],  # type: ignore[func-returns-value]
            )
        ]

    def event(self, engine: object, text: str, *, severity: str, vm_id: str) -> None:
        self.told.append(f"{severity}: {text}")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    monkeypatch.setattr(turns, "back_up_limited", made.back_up)
    monkeypatch.setattr(audit, "post_event", made.event)
    monkeypatch.setattr(turns, "heal", lambda *_, **__: [])
    monkeypatch.setattr(turns, "_PAUSE", 0.01)
    return made


def take(bench: Bench, outcomes: Sequence[VmOutcome] | None = None) -> VmOutcome:
    outcome = VmOutcome(vm="web01", vm_id="v-1")
    plan: Any = SimpleNamespace(
        limits=Limits(),
        state=bench.state,
        guard_every=1.0,
        until=bench.until,
        named=False,
        options=lambda member: SimpleNamespace(mode="image"),
    )
    anything: Any = SimpleNamespace(patience=Patience())
    parts: Any = bench
    member: Any = SimpleNamespace(id="v-1", name="web01")
    made = turns.Turns(plan, anything, parts, anything, bench.merges, parts, Progress())
    try:
        made.take([(member, outcome)])
    finally:
        bench.merges.wait()
        bench.outcome = outcome  # type: ignore[attr-defined]
    return outcome


def test_a_vm_that_goes_well(bench: Bench) -> None:
    outcome = take(bench)
    assert bench.steps == [
        "recover",
        "before-vm",
        "back up",
        "conclude well",
        "on-success",
        "after-vm",
        "merge",
    ]
    assert (outcome.status, outcome.archive, outcome.mode) == ("ok", "web01-1", "image")
    assert bench.told == [
        "normal: Backup of VM web01 started.",
        "normal: Backup of VM web01 finished: archive web01-1 (full).",
    ]


def test_a_vm_that_fails_stops_no_other_and_is_told(bench: Bench) -> None:
    bench.fail["back up"] = TransferFailed("It broke.")
    outcome = take(bench)
    assert bench.steps == ["recover", "before-vm", "back up", "conclude failed", "on-failure", "after-vm"]
    assert (outcome.status, outcome.error) == ("failed", "It broke.")
    assert bench.told[-1] == "error: Backup of VM web01 failed: It broke."
    assert not bench.hurried


@pytest.mark.parametrize("where", ["before-vm", "back up"])
def test_a_signal_still_closes_what_was_begun(bench: Bench, where: str) -> None:
    bench.fail[where] = SignalReceived(signal.SIGTERM)
    with pytest.raises(SignalReceived):
        take(bench)
    assert bench.steps[-2:] == ["on-failure", "after-vm"]
    assert bench.hurried, "no command may take long any more"
    assert bench.told[-1].startswith("error: Backup of VM web01 failed: ended by SIGTERM")
    assert bench.outcome.status == "failed"  # type: ignore[attr-defined]


def test_what_was_made_before_a_signal_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where grids differ a VM is read twice: the second read is interrupted, the first archive stands."""

    def twice(*arguments: object) -> Iterator[Any]:
        yield from bench.back_up(*arguments)
        raise SignalReceived(signal.SIGTERM)

    monkeypatch.setattr(turns, "back_up_limited", twice)
    with pytest.raises(SignalReceived):
        take(bench)
    outcome = bench.outcome  # type: ignore[attr-defined]
    assert (outcome.status, outcome.archive) == ("failed", "web01-1")
    assert [stored.archive for stored in outcome.stored] == ["web01-1"]
    assert outcome.error.startswith("ended by SIGTERM")


def test_a_hook_that_is_to_stop_skips_the_vm(bench: Bench) -> None:
    bench.fail["before-vm"] = HookFailed("The command failed.")
    outcome = take(bench)
    assert "back up" not in bench.steps
    assert (outcome.status, outcome.error) == ("failed", "The command failed.")


@pytest.mark.parametrize("where", ["on-success", "after-vm"])
def test_a_hook_after_it_that_fails_fails_it(bench: Bench, where: str) -> None:
    bench.fail[where] = HookFailed("The command failed.")
    outcome = take(bench)
    assert outcome.status == "failed"
    assert "after-vm" in bench.steps, "the others run all the same"


def test_a_vm_that_another_process_has_waits_for_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = try_lock(bench.state / "vms" / "v-1.lock")
    assert held is not None
    begun: list[list[str]] = []

    def pause(seconds: float) -> None:
        begun.append(list(bench.steps))
        held.close()

    monkeypatch.setattr(turns.clock, "sleep", pause)
    outcome = take(bench)
    assert begun == [[]]
    assert outcome.status == "ok"


def test_the_vm_is_ours_until_the_engine_is_through_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    path = bench.state / "vms" / "v-1.lock"

    def free() -> bool:
        handle = try_lock(path)
        if handle is not None:
            handle.close()
        return handle is not None

    back_up = bench.back_up

    def looking(*arguments: object) -> list[Any]:
        (result,) = back_up(*arguments)

        def merging() -> list[str]:
            assert turn_over.wait(60)
            seen.append(free())
            return []

        result.wait_for_merge = merging
        seen.append(free())
        return [result]

    turn_over, waiting = threading.Event(), bench.merges.wait
    monkeypatch.setattr(bench.merges, "wait", lambda: (turn_over.set(), waiting()))
    monkeypatch.setattr(turns, "back_up_limited", looking)
    take(bench)
    assert seen == [False, False]
    assert free()


def test_after_the_window_no_vm_is_started(bench: Bench) -> None:
    bench.until = datetime.now(timezone.utc) - timedelta(seconds=1)
    outcome = take(bench)
    assert bench.steps == []
    assert outcome.status == "not started"
    assert "not started: it is past" in outcome.warnings[0]


def test_without_any_repository_no_vm_is_read(bench: Bench) -> None:
    bench.lost = "all repositories are lost"
    outcome = take(bench)
    assert bench.steps == []
    assert (outcome.status, outcome.error) == ("failed", "all repositories are lost")


def test_a_repository_that_was_given_up_is_missed(bench: Bench) -> None:
    bench.states.append(RepositoryState("b", "/srv/b", "it is locked"))
    outcome = take(bench)
    assert outcome.status == "warning"
    assert [(s.repository, s.archive, s.error) for s in outcome.stored] == [
        ("/srv/a", "web01-1", None),
        ("/srv/b", None, "it is locked"),
    ]


# -- what a run says in the end ----------------------------------------------------------------------------


def result(*vms: VmOutcome, **facts: Any) -> RunResult:
    return RunResult(run="r", engine="e", started=NOW, vms=list(vms), **facts)


def vm(status: Any, **facts: Any) -> VmOutcome:
    return VmOutcome(vm="web01", vm_id="v-1", status=status, **facts)


LOST = RepositoryOutcome(name="b", location="/srv/b", error="it is locked")


@pytest.mark.parametrize(
    ("made", "status", "code"),
    [
        (result(), "ok", 0),
        (result(vm("ok")), "ok", 0),
        (result(vm("ok"), vm("warning")), "warning", 1),
        (result(vm("ok"), vm("not started")), "warning", 1),
        (result(vm("ok"), warnings=["x"]), "warning", 1),
        (result(vm("ok"), vm("failed")), "failed", 2),
        (result(vm("ok"), repositories=[LOST]), "failed", 2),
        (result(vm("failed", cause=RepositoryLocked("x")), named=True), "failed", 31),
        (result(vm("failed", cause=RepositoryLocked("x"))), "failed", 2),
    ],
)
def test_the_worst_of_all_is_the_runs(made: RunResult, status: str, code: int) -> None:
    assert (made.status, made.exit_status) == (status, code)
    assert made.facts()["exit_status"] == code


def test_the_first_cause_counts_but_nothing_goes_before_a_signal() -> None:
    made = result()
    made.end(RepositoryLocked("first"))
    made.end(TransferFailed("second"))
    assert (made.exit_status, made.error) == (31, "first")
    made.end(SignalReceived(signal.SIGTERM))
    assert (made.exit_status, made.error) == (143, "ended by SIGTERM")


def test_warnings_of_a_good_backup_are_warnings_and_no_failure_becomes_one() -> None:
    good, bad = vm("ok"), vm("failed")
    good.warn("late")
    bad.warn("late")
    assert (good.status, bad.status) == ("warning", "failed")
    bad.fail(TransferFailed("first"))
    bad.fail(HookFailed("second"))
    assert bad.error == "first"


@pytest.mark.parametrize(("hour", "days"), [(23, 0), (1, 1)])
def test_the_end_of_the_window_is_the_next_time_the_clock_shows_it(hour: int, days: int) -> None:
    started = datetime(2026, 3, 1, 22, 0).astimezone()
    end = window_end(time(hour, 0), started)
    assert end is not None
    assert (end.hour, end.date() - started.date()) == (hour, timedelta(days=days))
    assert window_end(None, started) is None


def test_the_time_that_is_told_ends_with_the_merge(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = bench.back_up()
    result.wait_for_merge = lambda: clock.sleep(0.1) or []  # type: ignore[func-returns-value]
    monkeypatch.setattr(turns, "back_up_limited", lambda *_: [result])
    outcome = take(bench)
    assert outcome.took >= 0.1
    assert outcome.facts()["took"] > outcome.seconds
