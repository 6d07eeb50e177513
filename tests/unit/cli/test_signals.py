"""A signal unwinds a real process in order; the second ends it at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# A job that owns something, and a cleanup that takes its time, as the engine does.
JOB = """
import sys, threading
from borg_ovirt.cli import boundary, signals
from borg_ovirt.cli.output import Output
import click

@click.command()
def job():
    try:
        print("working", flush=True)
        threading.Event().wait(60)
    except Exception:
        print("swallowed", flush=True)
    finally:
        print("cleaning", flush=True)
        if "slow" in sys.argv:
            threading.Event().wait(60)
        print("clean", flush=True)

boundary.root = job
sys.exit(boundary.run([]))
"""


@contextmanager
def job(*words: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_first_signal_unwinds_and_says_so(number: signal.Signals, status: int) -> None:
    with job() as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert out == "cleaning\nclean\n"
    assert process.returncode == status
    assert err.count("\n") == 1
    assert "ending what was begun" in err


def test_the_second_signal_leaves_at_once() -> None:
    with job("slow") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert out == ""
    assert process.returncode == 130
    assert "leaving at once" in err.splitlines()[-1]


def test_under_nohup_a_hang_up_is_ignored() -> None:
    with job(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert out == "cleaning\nclean\n"
    assert "leaving at once" not in err, "the hang-up was no first signal"


def test_handlers_are_put_back() -> None:
    from borg_ovirt.cli.signals import SignalReceived, orderly

    before = signal.getsignal(signal.SIGTERM)
    told: list[str] = []
    with pytest.raises(SignalReceived), orderly(told.append):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(told) == 1
