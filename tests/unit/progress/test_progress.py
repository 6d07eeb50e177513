"""Each display tells steps, warnings and disks in its own form, from any thread, and no secret."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from borg_ovirt import sign, waits
from borg_ovirt.blocks import GiB, MiB
from borg_ovirt.progress import Gauge, Named, Progress, choose
from borg_ovirt.progress.bars import TerminalProgress
from borg_ovirt.progress.jsonlines import JsonProgress
from borg_ovirt.progress.plain import PlainProgress, describe

TICKET = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Clock:
    """A clock that stands until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeTerminal(io.StringIO):
    """Says it is a terminal, and keeps what is drawn on it."""

    def isatty(self) -> bool:
        return True

    @property
    def words(self) -> str:
        """What was drawn, without colours and cursor moves."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue()).replace("\r", "\n")


def test_a_gauge_counts_what_happened_to_the_bytes() -> None:
    with Progress().disk("vda", 10 * GiB, 2 * GiB) as gauge:
        gauge.advance(read=GiB, new=MiB)
        gauge.advance(zero=4 * GiB)
        gauge.advance(reused=GiB, resumes=1)
        assert gauge.done == 6 * GiB
        assert (gauge.read, gauge.zero, gauge.reused, gauge.new, gauge.resumes) == (GiB, 4 * GiB, GiB, MiB, 1)
        assert gauge.eta == pytest.approx(GiB / gauge.rate, rel=0.5)
        assert not gauge.finished
    assert gauge.finished


def test_nobody_knows_the_end_before_a_byte_moved() -> None:
    gauge = Progress().disk("vda", GiB)
    assert gauge.to_read == GiB
    assert gauge.eta is None
    gauge.advance(zero=GiB // 2)
    assert gauge.eta is None


def test_threads_lose_no_byte() -> None:
    seen: list[Gauge] = []
    gauge = Gauge("vda", 4000, None, seen.append)
    threads = [
        threading.Thread(target=lambda: [gauge.advance(read=1, new=1) for _ in range(1000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (gauge.read, gauge.new, len(seen)) == (4000, 4000, 4000)


def test_a_disk_in_words() -> None:
    gauge = Progress().disk("vda", 10 * GiB)
    gauge.advance(read=2 * GiB, zero=3 * GiB, reused=GiB, new=512 * MiB, resumes=2)
    words = describe(gauge)
    assert words.startswith("60% of 10 GiB, 2 GiB read, 3 GiB zero, 1 GiB unchanged, 512 MiB new, ")
    assert "/s, about " in words
    assert words.endswith("to go, 2 connections resumed")


def test_an_empty_disk_is_done() -> None:
    assert describe(Progress().disk("vda", 0)).startswith("100% of 0 B")


def test_plain_lines_come_no_more_often_than_agreed() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = PlainProgress(stream, every=10, clock=clock)
    with progress.disk("vda", 100) as gauge:
        for _ in range(50):
            gauge.advance(read=1)
            clock.now += 1
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("vda: 11% of 100 B")
    assert lines[-1].startswith("vda: 50% of 100 B")


def test_a_short_disk_gets_one_plain_line() -> None:
    stream = io.StringIO()
    with PlainProgress(stream, clock=Clock()).disk("vda", 100) as gauge:
        gauge.advance(read=100)
    gauge.finish()
    assert len(stream.getvalue().splitlines()) == 1


def test_quiet_leaves_warnings() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, quiet=True)
    progress.step("starting")
    progress.warn("a disk is skipped")
    with progress.disk("vda", 100) as gauge:
        gauge.advance(read=100)
    assert stream.getvalue() == "warning: a disk is skipped\n"


def test_json_lines_have_the_shape_of_borg() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = JsonProgress(stream, every=1, clock=clock)
    progress.step("starting")
    progress.warn("a disk is skipped")
    with progress.disk("vda", 100) as first, progress.disk("vdb", 200) as second:
        first.advance(read=10, new=5)
        first.advance(read=10)
        clock.now += 1
        first.advance(reused=80)
        second.advance(zero=200)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["type"] for line in lines[:2]] == ["log_message"] * 2
    assert [line["levelname"] for line in lines[:2]] == ["INFO", "WARNING"]
    percents = lines[2:]
    assert {line["type"] for line in percents} == {"progress_percent"}
    assert [(line["operation"], line["finished"]) for line in percents] == [
        (1, False),
        (1, False),
        (2, False),
        (2, True),
        (1, True),
    ]
    assert (percents[0]["current"], percents[0]["total"], percents[0]["info"]) == (10, 100, ["vda"])
    assert (percents[1]["current"], percents[1]["reused"], percents[1]["new"]) == (100, 80, 5)
    assert "current" not in percents[-1]


def test_a_terminal_shows_a_bar_per_disk_and_steps_above() -> None:
    terminal = FakeTerminal()
    with TerminalProgress(terminal, width=160, every=0) as progress:
        progress.step("web01: a backup starts [5%]")
        with progress.disk("vda [root]", 4 * GiB) as first, progress.disk("vdb", GiB) as second:
            first.advance(read=GiB, zero=GiB, new=512 * MiB)
            second.advance(reused=GiB)
            progress.warn("a connection was resumed")
    words = terminal.words
    assert "web01: a backup starts [5%]\n" in words
    assert "warning: a connection was resumed\n" in words
    final = words[words.rindex("vda [root]") :]
    assert re.search(r"vda \[root\] .* 50% 1 GiB read  1 GiB zero  512 MiB new  .*/s", final)
    assert re.search(r"vdb +.*100% 0 B read  1 GiB same", words)


def test_bars_of_the_next_vm_are_a_new_display() -> None:
    terminal = FakeTerminal()
    progress = TerminalProgress(terminal, width=120)
    for name in ("first", "second"):
        with progress.disk(name, 10) as gauge:
            gauge.advance(read=10)
        progress.step(f"{name} is done")
    words = terminal.words
    assert words.index("first is done") < words.index("second ")
    assert words[words.index("second ") :].count("first") == 0


def test_leaving_takes_the_display_down_in_any_state() -> None:
    terminal = FakeTerminal()
    progress = TerminalProgress(terminal, width=120)
    with progress:
        progress.disk("vda", 10)
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is visible again
    before = terminal.getvalue()
    progress.close()
    assert terminal.getvalue() == before


@pytest.mark.parametrize("kind", [PlainProgress, JsonProgress, TerminalProgress])
def test_no_display_shows_a_ticket(kind: type[Progress]) -> None:
    stream = io.StringIO()
    with kind(stream) as progress:  # type: ignore[call-arg]
        progress.step(f"GET https://host/images/{TICKET}")
        progress.warn(f"PUT https://host/images/{TICKET}")
        with progress.disk(f"/images/{TICKET}", 10) as gauge:
            gauge.advance(read=10)
    assert TICKET not in stream.getvalue()
    assert "/images/***" in stream.getvalue()


def test_the_place_chooses_the_display() -> None:
    assert isinstance(choose(stream=FakeTerminal()), TerminalProgress)
    assert isinstance(choose(stream=FakeTerminal(), bars=False), PlainProgress)
    assert isinstance(choose(stream=FakeTerminal(), quiet=True), PlainProgress)
    assert isinstance(choose(stream=io.StringIO()), PlainProgress)
    assert isinstance(choose(stream=FakeTerminal(), log_json=True), JsonProgress)


def two_vms(progress: Progress) -> None:
    """A run of two VMs as `jobs.runs` tells it."""
    progress.begin_run(2)
    for name in ("web01", "web02"):
        progress.begin_vm()
        progress.detail(f"{name}: incremental")
        with progress.waiting(f"{name}: waiting for the backup to be ready"):
            pass
        with progress.disk(f"{name}_Disk1", GiB) as gauge:
            gauge.advance(read=256 * MiB)
        progress.end_vm(f"{name}: archive {name}-1" if name == "web01" else None)


def test_a_log_has_one_line_for_each_vm() -> None:
    stream = io.StringIO()
    two_vms(PlainProgress(stream))
    assert stream.getvalue().splitlines() == ["VM 1 of 2: web01: archive web01-1"]
    stream = io.StringIO()
    two_vms(PlainProgress(stream, verbose=True))
    lines = stream.getvalue().splitlines()
    assert [lines[0], lines[2], lines[3]] == [
        "web01: incremental",
        "VM 1 of 2: web01: archive web01-1",
        "web02: incremental",
    ]
    assert lines[1].startswith("web01_Disk1: 25% of 1 GiB")


def test_an_only_vm_has_no_number() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.begin_run(1)
    progress.end_vm("web01: archive web01-1")
    assert stream.getvalue() == "web01: archive web01-1\n"


def test_an_overview_counts_vms_bytes_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("borg_ovirt.progress.overview.time.monotonic", clock)
    progress = Progress()
    progress.begin_run(60)
    assert str(progress.overview) == "VM 0 of 60, 0 done, 0 B read, 0.0s so far"
    for _ in range(17):
        progress.begin_vm()
    for _ in range(15):
        with progress.disk("vda", GiB) as gauge:
            gauge.advance(read=GiB)
        progress.end_vm()
    clock.now += 60
    assert str(progress.overview) == "VM 17 of 60, 15 done, 15 GiB read, 1m00s so far, about 3m00s left"


def test_a_terminal_shows_the_run_and_counts_the_seconds_of_each_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = FakeTerminal()
    with TerminalProgress(terminal, width=120) as progress:
        progress.begin_run(60)
        progress.begin_vm()
        named = Named(progress, "web01")
        with waits.shown_by(named.waiting), waits.wait("waiting for the backup to be ready"):
            clock = Clock()
            clock.now = time.monotonic() + 12
            monkeypatch.setattr("borg_ovirt.progress.bars.time.monotonic", clock)
            progress._display().refresh()  # as it does four times a second
        monkeypatch.undo()
        words = terminal.words
        with waits.wait("nobody shows it here"):
            progress.end_vm("web01: archive web01-1")
    assert "VM 1 of 60, 0 done, 0 B read" in words
    assert re.search(r"web01: waiting for the backup to be ready, 12(\.0)?s", words)
    assert "VM 1 of 60: web01: archive web01-1\n" in terminal.words
    assert "nobody" not in terminal.words


def test_a_long_wait_is_shown_before_there_is_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("borg_ovirt.progress.bars.PATIENCE", 0.05)
    terminal = FakeTerminal()
    with TerminalProgress(terminal, width=120) as progress:
        with progress.waiting("opening the repository local"):
            until = time.monotonic() + 20
            while "opening the repository local, " not in terminal.words and time.monotonic() < until:
                time.sleep(0.02)
        assert progress._live is None, "nothing is left to be shown"
        assert "opening the repository local, " in terminal.words


def test_a_short_wait_shows_nothing() -> None:
    terminal = FakeTerminal()
    with TerminalProgress(terminal, width=120) as progress, progress.waiting("the engine"):
        assert not terminal.words
    assert not terminal.words


def test_programs_hear_of_waits() -> None:
    stream = io.StringIO()
    with JsonProgress(stream).waiting("the engine"):
        pass
    first, last = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["type"], first["message"], first["finished"]) == ("progress_message", "the engine", False)
    assert (last["operation"], last["message"], last["finished"]) == (first["operation"], "", True)


def test_a_sign_tells_what_a_process_does_now() -> None:
    assert sign.read(1) is None
    sign.hang_out(17, 60)
    sign.hang_out(18, 60)
    assert sign.read(os.getpid()) == "VM 18 of 60"
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert sign.read(worker.pid) == "VM 18 of 60"  # it works for this process
    finally:
        worker.communicate(b"\n")
    assert sign.read(2**22 + 1) is None
