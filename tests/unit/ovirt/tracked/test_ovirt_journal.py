"""The journal: what a run that died leaves behind can be read, and only that."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.errors import ConfigError
from borg_ovirt.ovirt.tracked.cleanup import leftovers
from borg_ovirt.ovirt.tracked.journal import Journal, dead_runs, read_journal, state_dir

_DIE = """
import os, sys
from pathlib import Path
from borg_ovirt.ovirt.tracked.journal import Journal
journal = Journal(Path(sys.argv[1]), "engine-1").__enter__()
journal.intend("disk", id="d1", alias="a").made("d1")
journal.intend("transfer", disk="d1", direction="upload", mark=3605).made("t1")
journal.intend("backup", vm="v1", description="borg-ovirt x")
gone = journal.intend("snapshot", vm="v1", description="y")
gone.made("s1")
gone.done()
journal.intend("vm", id="v2", name="copy")
print(journal.run_id, flush=True)
{end}
"""


def die(directory: Path, end: str = "os.kill(os.getpid(), 9)") -> str:
    done = subprocess.run(
        [sys.executable, "-c", _DIE.format(end=end), str(directory)], stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def test_a_run_that_ends_well_leaves_no_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "state", "engine-1") as journal:
        entry = journal.intend("backup", vm="v1", description="nightly")
        assert journal.path.exists()
        entry.made("b1")
        entry.done()
        entry.done()
    assert list((tmp_path / "state").iterdir()) == []


def test_a_killed_run_is_read_in_the_order_in_which_things_end(tmp_path: Path) -> None:
    run = die(tmp_path)
    found = leftovers(tmp_path)
    assert [(left.kind, left.id) for left in found] == [
        ("transfer", "t1"),
        ("backup", None),
        ("vm", None),
        ("disk", "d1"),
    ]
    assert {left.run_id for left in found} == {run}
    assert leftovers(tmp_path, "engine-2") == []


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    with Journal(tmp_path, "engine-1") as living:
        living.intend("backup", vm="v1", description="x")
        dead = die(tmp_path)
        code = (
            "import sys; from pathlib import Path; from borg_ovirt.ovirt.tracked.cleanup import leftovers;"
            "print(*{l.run_id for l in leftovers(Path(sys.argv[1]))})"
        )
        seen = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True
        )
    assert seen.stdout.split() == [dead]


def test_what_is_open_at_the_end_stays_and_can_be_struck_later(tmp_path: Path) -> None:
    with Journal(tmp_path, "engine-1") as journal:
        slow = journal.intend("snapshot", vm="v1", description="x")
        other = journal.intend("snapshot", vm="v2", description="x")
    assert journal.path.exists()
    slow.done()
    assert [left.description for left in leftovers(tmp_path)] == ["snapshot (vm v2)"]
    other.done()
    assert list(tmp_path.iterdir()) == []


def test_descriptions_bear_the_tag_the_run_and_the_entry(tmp_path: Path) -> None:
    with Journal(tmp_path, "engine-1", "run0") as journal:
        first = journal.intend("backup", vm="v", description="borg-ovirt repositories=ab")
        second = journal.intend("snapshot", vm="v", description="nightly " * 400)
        first.done()
        second.done()
    assert first.facts["description"] == "borg-ovirt repositories=ab [run0.1]"
    assert second.facts["description"].startswith("borg-ovirt nightly")
    assert second.facts["description"].endswith("[run0.2]")
    assert len(second.facts["description"]) <= 1024


def test_an_entry_is_on_disk_before_it_is_used(tmp_path: Path) -> None:
    with Journal(tmp_path, "engine-1") as journal:
        entry = journal.intend("disk", id="d1")
        lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
        assert [line["op"] for line in lines] == ["run", "intend"]
        assert lines[1]["facts"] == {"id": "d1"}
        entry.done()


def test_no_secret_is_readable_by_others(tmp_path: Path) -> None:
    with Journal(tmp_path / "new", "engine-1"):
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="BORG_OVIRT_STATE_DIR"), Journal(tmp_path / "file" / "x", "e"):
        pass


def test_where_the_state_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BORG_OVIRT_STATE_DIR", str(tmp_path))
    assert state_dir() == tmp_path
    monkeypatch.delenv("BORG_OVIRT_STATE_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert state_dir() == Path("/x/borg-ovirt")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_dir() == Path("/var/lib/borg-ovirt")


_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("intend"), st.integers(1, 9)),
        st.tuples(st.just("made"), st.integers(1, 9)),
        st.tuples(st.just("done"), st.integers(1, 9)),
    )
)


@given(_OPERATIONS, st.integers(0, 200))
def test_any_crash_leaves_a_readable_journal(operations: list[tuple[str, int]], cut: int) -> None:
    lines = []
    for operation, number in operations:
        record = {"op": operation, "n": number, "kind": "disk", "facts": {"id": f"d{number}"}, "id": "x"}
        lines.append(json.dumps(record))
    text = "\n".join(lines)
    text = text[: max(0, len(text) - cut)]
    complete = text.splitlines()
    if complete and complete[-1] not in lines:
        complete.pop()
    expected: dict[int, None] = {}
    for operation, number in operations[: len(complete)]:
        if operation == "intend":
            expected[number] = None
        elif operation == "done":
            expected.pop(number, None)
    run = read_journal(Path("x.jsonl"), text)
    assert {entry.number for entry in run.entries} == set(expected)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert read_journal(Path("x.jsonl"), text).entries == []


def test_dead_runs_are_locked_while_they_are_looked_at(tmp_path: Path) -> None:
    die(tmp_path)
    with dead_runs(tmp_path) as first:
        assert len(first) == 1
        with dead_runs(tmp_path) as second:
            assert second == []


def test_a_journal_is_locked_before_anybody_can_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that can be seen and is not locked passes for a dead run's, and what it will name is removed."""
    seen: list[list[str]] = []
    lock = fcntl.flock

    def look(*arguments: object) -> None:
        seen.append([path.name for path in tmp_path.glob("*.jsonl")])
        lock(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", look)
    with Journal(tmp_path, "engine-1") as journal:
        assert seen == [[]]
        assert list(tmp_path.glob("*.jsonl")) == [journal.path]


def test_what_is_written_down_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, int]] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    with Journal(tmp_path, "engine-1") as journal:
        assert synced[-1][0] == str(tmp_path), "its name, too"
        for step in (lambda: journal.intend("disk", id="d1"), lambda: journal.unfinished[0].made("d1")):
            step()
            assert synced[-1] == (str(journal.path), journal.path.stat().st_size)


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = r"state directory .* cannot be written: No space left"
    with Journal(tmp_path / "b", "engine-1") as journal:
        known = journal.intend("disk", id="d0")
        monkeypatch.setattr(os, "fsync", no_room)
        with pytest.raises(ConfigError, match=told), Journal(tmp_path / "a", "engine-1"):
            pass
        assert list((tmp_path / "a").iterdir()) == []
        with pytest.raises(ConfigError, match=told):
            journal.intend("disk", id="d1")
        known.made("d0")
        known.done()  # what is gone is gone, whether or not it can be written down
        assert journal.unfinished == []
    assert list((tmp_path / "b").iterdir()) == []


def test_a_line_that_nobody_can_read_hides_no_other(tmp_path: Path) -> None:
    run = die(tmp_path)
    path = tmp_path / f"{run}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1:1] = [b'{"op":"intend","n":7,"kind":"di\xffsk","facts":{}}\n', b"[" * 100_000 + b"\n"]
    path.write_bytes(b"".join(lines))
    assert [left.kind for left in leftovers(tmp_path)] == ["transfer", "backup", "vm", "disk"]
    with dead_runs(tmp_path) as (dead,):
        assert dead.damaged == 2
        for entry in list(dead.entries):
            dead.strike(entry)
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"], "for whoever wants to look"
