"""Words that nobody takes neither stop the work nor change what the exit status says of it."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

# A command as ours are, through the entry of a real process; "look" only tells, the other changes something.
JOB = """
import os, sys
import click
import borg_ovirt.cli as cli
from borg_ovirt.cli import boundary, options
from borg_ovirt.errors import EngineRefused

@click.command()
@click.argument("name")
@options.common(dry_run={changes})
def command(output, name, **rest):
    opened = os.open(os.environ["DONE"], os.O_WRONLY | os.O_CREAT)
    assert opened > 2, "a file of the work stands where a standard stream belongs"
    with output.progress() as progress:
        for number in range(3):
            progress.step("step " + str(number))
            output.warn("warning " + str(number))
        with progress.disk(name, 100) as gauge:
            gauge.advance(read=100)
    if name == "refused":
        raise EngineRefused("The engine refused.")
    os.write(opened, b"done")
    output.lines("made of " + name)
    output.table(["VM"], [[name]])
    return 0

boundary.root = command
cli.main()
"""


class Job:
    def __init__(self, done: Path) -> None:
        self.done = done

    def run(
        self, redirect: str = "", *, changes: bool = True, name: str = "web01", **env: str
    ) -> tuple[int, str, str]:
        """Run it in a shell with the redirection; status, output, errors."""
        self.done.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "-c", f'exec "$0" -c "$JOB" "$NAME" {redirect}', sys.executable],
            env={
                **os.environ,
                "JOB": JOB.format(changes=changes),
                "NAME": name,
                "DONE": str(self.done),
                **env,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="latin-1",
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    @property
    def worked(self) -> bool:
        return self.done.exists() and self.done.read_text() == "done"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "done")


@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-", "2>/dev/full >/dev/full"])
def test_work_is_done_though_no_message_can_be_written(job: Job, redirect: str) -> None:
    code, _, _ = job.run(redirect)
    assert job.worked
    assert code == (1 if ">/dev/full >" in redirect else 0)


@pytest.mark.parametrize("redirect", ["2>/dev/full", "2>&-"])
def test_what_did_nothing_does_not_end_as_if_it_had(job: Job, redirect: str) -> None:
    code, _, _ = job.run(redirect, name="refused")
    assert not job.worked
    assert code == 16


def test_an_argument_that_is_wrong_is_an_error_though_nobody_hears(job: Job) -> None:
    assert job.run("--nonsense 2>/dev/full")[0] == 2


def test_a_full_disk_under_the_result_is_a_warning_where_work_was_done(job: Job) -> None:
    code, _, err = job.run(">/dev/full")
    assert job.worked
    assert code == 1
    assert err.splitlines()[-1] == (
        "borg-ovirt: warning: The result could not be written to standard output: No space left on device."
    )


def test_a_full_disk_under_the_result_is_an_error_where_the_result_is_all(job: Job) -> None:
    code, _, err = job.run(">/dev/full", changes=False)
    assert code == 2
    assert "No space left on device" in err.splitlines()[-1]
    assert "fault of borg-ovirt" not in err


@pytest.mark.parametrize("changes", [True, False])
def test_a_closed_output_takes_nothing_and_is_no_error(job: Job, changes: bool) -> None:
    code, out, _ = job.run(">&- <&-", changes=changes)
    assert (code, out) == (0, "")
    assert job.worked


def _gone() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(("changes", "status"), [(True, 0), (False, 141)])
def test_a_reader_that_left_loses_the_words_and_not_the_work(
    job: Job, changes: bool, status: int, tmp_path: Path
) -> None:
    gone = _gone()
    try:
        done = subprocess.run(
            [sys.executable, "-c", JOB.format(changes=changes), "web01"],
            env={**os.environ, "DONE": str(job.done)},
            stdout=gone,
            stderr=gone,
            timeout=60,
        )
    finally:
        os.close(gone)
    assert job.worked
    assert done.returncode == status


def test_a_terminal_that_is_closed_loses_the_words_and_not_the_work(job: Job) -> None:
    """As under `nohup`: the hang-up itself is ignored."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "import os; os.read(0, 1)\n" + JOB.format(changes=True), "web01"],
        env={**os.environ, "DONE": str(job.done)},
        stdin=subprocess.PIPE,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    os.close(master)
    process.communicate(b"x", timeout=60)
    assert job.worked
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("encoding", "seen"), [("ascii", "made of caf\\xe9\\u2013x"), ("latin-1", "made of café\\u2013x")]
)
def test_what_the_encoding_lacks_is_shown_escaped(job: Job, encoding: str, seen: str) -> None:
    code, out, err = job.run(name="café–x", PYTHONIOENCODING=encoding, PYTHONUTF8="1")
    assert code == 0
    assert out.splitlines()[0] == seen
    assert "Traceback" not in err


def test_a_full_terminal_that_does_not_block_is_waited_for(job: Job) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    process = subprocess.Popen(
        [sys.executable, "-c", JOB.format(changes=True), "web01"],
        env={**os.environ, "DONE": str(job.done)},
        stderr=writing,
        stdout=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        words = stream.read().lstrip(b"x").decode()
    assert process.wait(timeout=60) == 0
    assert "step 2" in words


def test_a_program_that_cannot_start_does_not_end_as_if_it_had_worked(tmp_path: Path) -> None:
    """Standard Python ends with 1 on an error that nobody catches."""
    broken = tmp_path / "click"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise MemoryError\n")
    done = subprocess.run(
        [sys.executable, "-m", "borg_ovirt", "list"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == "borg-ovirt: The program could not be started: MemoryError\n"


def test_names_are_never_cut_on_a_narrow_terminal() -> None:
    """What names something has its whole width at 80 columns; notes give way."""
    code = (
        "import borg_ovirt.cli.output as o; archive = 'web01-2026-03-01T12:00:00-' + 'x' * 30;"
        "o.Output().table(['ARCHIVE', 'VM', 'TIME', 'NOTES'],"
        " [[archive, 'web01', '2026-03-01 12:00:00', 'the reason is long, ' * 8]])"
    )
    master, slave = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=slave, env=env)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):
        while block := os.read(master, 4096):
            shown += block
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert b"web01-2026-03-01T12:00:00-" + b"x" * 30 in shown
    assert b"2026-03-01 12:00:00" in shown
    assert shown.count(b"reason") == 8
    assert "\u2026".encode() not in shown
