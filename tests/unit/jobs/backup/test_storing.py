"""Who stores, and who waits for it: turns, bounded memory, signals."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import pytest

from borg_ovirt import stopping
from borg_ovirt.errors import TransferFailed
from borg_ovirt.jobs.backup import storing
from borg_ovirt.jobs.backup.storing import ARCHIVE, QUESTION, Storing, StoringThread
from borg_ovirt.jobs.runs.crew import together
from borg_ovirt.stopping import Stop


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_POLL", 0.01)


@pytest.fixture
def thread() -> StoringThread:
    return StoringThread(Stop())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_alone_it_is_done_at_once() -> None:
    alone = Storing()
    assert alone.do(lambda: threading.get_ident()) == threading.get_ident()
    assert not alone.hold(1)
    with alone.in_line(large=True) as begun, alone.buffers(4, 2) as buffers:
        begun()
        assert (buffers.size, buffers.count) == (4, 2)


def test_all_is_done_by_one_thread_questions_first_then_the_neediest(thread: StoringThread) -> None:
    """Who is asked something waits for no archive but the one that is being made."""
    done: list[tuple[int, int]] = []

    def work(number: int) -> bool:
        if number == 0:  # it keeps the storing thread busy until all others wait
            thread.do(lambda: until(lambda: thread._inbox.qsize() == 3))
            return True
        until(lambda: thread._current is not None and thread._inbox.qsize() == 3 - number)
        rank = QUESTION if number == 3 else ARCHIVE  # the neediest asks last
        thread.do(lambda: done.append((number, threading.get_ident())), rank)
        return True

    assert together(4, thread, work, [0, 1, 2, 3]) == []
    assert [number for number, _ in done] == [3, 1, 2]
    assert {ident for _, ident in done} == {threading.get_ident()}


def test_what_goes_wrong_is_told_to_who_asked(thread: StoringThread) -> None:
    told: list[str] = []

    def work(number: int) -> bool:
        def fail() -> None:
            raise TransferFailed(f"{number} broke.")

        try:
            thread.do(fail)
        except TransferFailed as error:
            told.append(str(error))
        return number != 1

    assert together(2, thread, work, [0, 1, 2]) == [1]
    assert sorted(told) == ["0 broke.", "1 broke.", "2 broke."]


def test_who_asks_the_engine_holds_up_who_stores_for_a_blink_alone(thread: StoringThread) -> None:
    usual, seen = sys.getswitchinterval(), []

    def work(number: int) -> bool:
        thread.do(lambda: seen.append(sys.getswitchinterval()))
        return True

    together(2, thread, work, [0, 1])
    assert max(seen) < 0.001 <= usual == sys.getswitchinterval()


def test_memory_is_bounded(thread: StoringThread) -> None:
    assert thread.hold(storing.ROOM - 1)
    assert not thread.hold(2)
    assert thread.hold(1)
    thread.release(storing.ROOM)
    assert thread.hold(storing.ROOM)


def test_no_more_than_a_few_are_read_ahead_at_a_time(thread: StoringThread) -> None:
    now, most, sizes = [0], [0], set()

    def work(number: int) -> bool:
        with thread.buffers(4, 2) as buffers:
            now[0] += 1
            most[0] = max(most[0], now[0])
            sizes.add(id(buffers))
            time.sleep(0.02)
            now[0] -= 1
        return True

    together(6, thread, work, list(range(6)))
    assert most == [2]
    assert len(sizes) == 2, "buffers are used again"


def test_one_in_line_begins_shortly_before_its_turn(thread: StoringThread) -> None:
    left, steps = [storing.LEAD * 2], []

    def work(number: int) -> bool:
        if number == 0:
            with thread.in_line(large=True) as begun:

                def store() -> None:
                    begun()
                    with thread.streaming(lambda: left[0]):
                        until(lambda: "waits" in steps)
                        time.sleep(0.1)
                        steps.append("almost done")
                        left[0] = storing.LEAD / 2
                        until(lambda: "begun" in steps)

                thread.do(store, ARCHIVE)
        else:
            until(lambda: thread._left is not None)
            steps.append("waits")
            with thread.in_line(large=True) as begun:
                steps.append("begun")
                begun()
        return True

    together(2, thread, work, [0, 1])
    assert steps == ["waits", "almost done", "begun"]


def test_the_neediest_of_those_in_line_is_begun_first(thread: StoringThread) -> None:
    """However late it comes to the line: it is waited for, but for what the others may have."""
    steps: list[str] = []

    def work(number: int) -> bool:
        if number == 0:
            until(lambda: steps[:2] == ["2 waits", "3 waits"])
            with thread.aside():  # 1 is on its way and needs no line: it lets them pass at last
                until(lambda: "begun 2" in steps)
        elif number == 1:
            until(lambda: len(steps) == 2)
            with thread.in_line(large=False):
                steps.append("small 1")
                return True
        else:
            until(lambda: len(steps) >= number - 2)
            steps.append(f"{number} waits")
        with thread.in_line(large=True) as begun:
            steps.append(f"begun {number}")
            begun()
        return True

    together(4, thread, work, [0, 1, 2, 3])
    assert steps[:3] == ["2 waits", "3 waits", "small 1"]
    assert steps.index("begun 2") == 3
    assert steps.index("begun 3") > 3


def test_a_signal_ends_who_waits_once_and_starts_nobody(thread: StoringThread) -> None:
    """It meets the thread that stores; the others hear it where they pause, and unwind in peace."""
    steps: list[str] = []

    def work(number: int) -> bool:
        try:
            if number == 0:

                def signalled() -> None:
                    until(lambda: "pausing" in steps and "asking" in steps)
                    raise KeyboardInterrupt("SIGTERM")

                thread.do(signalled)
            elif number == 1:
                steps.append("pausing")
                stopping.pause(60)
            else:
                until(lambda: thread._current is not None)
                steps.append("asking")
                thread.do(lambda: steps.append("never done"), ARCHIVE)
        except KeyboardInterrupt:
            stopping.pause(0.01)  # what is begun is ended, which takes its time
            thread.do(lambda: steps.append(f"unwound {number}"))
            raise
        return True

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        together(3, thread, work, [0, 1, 2, 3])
    assert sorted(steps) == ["asking", "pausing", "unwound 0", "unwound 1", "unwound 2"]


def test_a_thread_that_breaks_is_told(thread: StoringThread) -> None:
    def work(number: int) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        together(2, thread, work, [0, 1, 2])


def test_who_takes_no_part_hears_nothing() -> None:
    stop = Stop()
    stop.ring(KeyboardInterrupt())
    stopping.check()
    stopping.pause(0)
    with stop.heeded():
        assert stopping.due()
        with pytest.raises(KeyboardInterrupt):
            stopping.pause(60)
        stopping.check()
        assert not stopping.due()
