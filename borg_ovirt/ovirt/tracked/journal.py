"""What this run makes in the engine, written down before it is made and struck out when it is gone again.

One file of JSON lines per run, locked while the run lives: a file that can be locked belongs to a dead run.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from borg_ovirt.errors import ConfigError
from borg_ovirt.ovirt.session.engine import new_run_id

log = logging.getLogger(__name__)

TAG = "borg-ovirt"
"""Descriptions of everything we make begin with this word."""
_SUFFIX = ".jsonl"


def state_dir() -> Path:
    """Where journals lie: `BORG_OVIRT_STATE_DIR`, else the system's place for such things."""
    chosen = os.environ.get("BORG_OVIRT_STATE_DIR")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/borg-ovirt")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "borg-ovirt"


@dataclass
class Entry:
    """One object of the engine that is ours, or is about to be."""

    number: int
    kind: str
    """`transfer`, `backup`, `snapshot`, `disk`, `vm`, `freeze`."""
    facts: dict[str, Any]
    """What it takes to find and to end it: vm, disk, image, direction, mark, description ..."""
    id: str | None = None
    """The engine's id for it; None while only the intent is known."""
    at: float = field(default=0.0, compare=False)
    """When the intent was written down, in seconds since the epoch; 0 where the journal does not tell."""
    journal: Journal | None = field(default=None, repr=False, compare=False)

    def made(self, object_id: str) -> None:
        """It exists, under this id."""
        self.id = object_id
        if self.journal is not None:
            self.journal.add({"op": "made", "n": self.number, "id": object_id})

    def note(self, **facts: Any) -> None:
        """More is known of it."""
        self.facts.update(facts)
        if self.journal is not None:
            self.journal.add({"op": "note", "n": self.number, "facts": facts})

    def done(self) -> None:
        """It is gone, or no longer only ours to remove."""
        if self.journal is not None:
            self.journal.strike(self)


class Journal:
    """The journal of this run. Thread-safe. Use as a context manager."""

    def __init__(self, directory: Path, engine_id: str, run_id: str | None = None) -> None:
        self.run_id = run_id or new_run_id()
        self.directory = directory
        self.path = directory / f"{self.run_id}{_SUFFIX}"
        self._engine_id = engine_id
        self._lock = threading.Lock()
        self._open: dict[int, Entry] = {}
        self._count = 0
        self._file: TextIOWrapper | None = None

    def __enter__(self) -> Journal:
        draft = self.path.with_suffix(".new")  # a journal that is not locked yet would pass for a dead one
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = draft.open("x", encoding="utf-8")
            self._begin()
            draft.rename(self.path)
            _sync_directory(self.directory)
        except OSError as error:
            if self._file is not None:
                draft.unlink(missing_ok=True)
                self._close()
            raise self._unwritable(error) from None
        except BaseException:
            draft.unlink(missing_ok=True)
            self._close()
            raise
        return self

    def _begin(self) -> None:
        assert self._file is not None
        fcntl.flock(self._file, fcntl.LOCK_EX)
        started = datetime.now(timezone.utc).isoformat(timespec="microseconds")
        self.write(
            {"op": "run", "run": self.run_id, "engine": self._engine_id, "pid": os.getpid(), "at": started}
        )

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"The state directory {self.directory} cannot be written: {error.strerror or error}.",
            "Set BORG_OVIRT_STATE_DIR to a directory of yours, with room.",
        )

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what is still in its buffer does not fit either
                file.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._file is None:
                return
            if not self._open:
                self.path.unlink(missing_ok=True)
            self._close()

    @property
    def tag(self) -> str:
        """What marks our objects in the engine, with this run's id."""
        return f"{TAG} {self.run_id}"

    def describe(self, text: str, entry_number: int | None = None) -> str:
        """A description that names us, the run and, where it must be unique, the entry."""
        text = text if text.startswith(TAG) else f"{TAG} {text}"
        end = f" [{self.run_id}" + (f".{entry_number}]" if entry_number is not None else "]")
        return text[: 1000 - len(end)] + end

    def intend(self, kind: str, **facts: Any) -> Entry:
        """Write down what is about to be made. A description among the facts is made unique.

        `ConfigError` if it cannot be written: then it must not be made.
        """
        with self._lock:
            self._count += 1
            number = self._count
        if "description" in facts:
            facts["description"] = self.describe(facts["description"], number)
        entry = Entry(number, kind, facts, facts.get("id"), time.time(), self)
        try:
            self.write({"op": "intend", "n": number, "kind": kind, "facts": facts, "at": entry.at})
        except OSError as error:
            raise self._unwritable(error) from None
        with self._lock:
            self._open[number] = entry
        return entry

    def strike(self, entry: Entry) -> None:
        with self._lock:
            known = self._open.pop(entry.number, None) is not None
        if known:
            self.add({"op": "done", "n": entry.number})

    def add(self, record: dict[str, Any]) -> None:
        """Write what is known besides; without it whoever cleans up looks for itself."""
        try:
            self.write(record)
        except OSError as error:
            log.warning("the journal %s cannot be written: %s", self.path, error.strerror or error)

    def holds(self, kind: str, vm_id: str) -> bool:
        """Whether something of that kind, of that VM, is not ended."""
        return any(entry.kind == kind and entry.facts.get("vm") == vm_id for entry in self.unfinished)

    @property
    def unfinished(self) -> list[Entry]:
        """What is still in the engine, in the order it was made."""
        with self._lock:
            return list(self._open.values())

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; it is on disk when this returns. After the end of the run nothing is written."""
        with self._lock:
            if self._file is None:
                self._write_late(record)
                return
            self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write_late(self, record: dict[str, Any]) -> None:
        """A slow merge may end after the run was closed: its file is still there."""
        if record["op"] != "done" or not self.path.exists():
            return
        if not self._open:
            self.path.unlink(missing_ok=True)
            return
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(record, separators=(",", ":")) + "\n")


@dataclass
class DeadRun:
    """The journal of a run that is no more, and what it left behind."""

    run_id: str
    engine_id: str
    path: Path
    entries: list[Entry]
    started: str = ""
    damaged: int = 0
    """Lines that cannot be read; what they told of is not known. A last line cut off by a crash is none."""

    def strike(self, entry: Entry) -> None:
        """It is gone. The journal goes with its last entry, unless lines of it could not be read."""
        self.entries.remove(entry)
        if not self.entries:
            self.close()
            return
        try:
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"op": "done", "n": entry.number}) + "\n")
        except OSError as error:  # the next run looks for it and finds that it is gone
            log.warning("the journal %s cannot be written: %s", self.path, error.strerror or error)

    def close(self) -> None:
        """Nothing of the run is left. A damaged journal is put aside for whoever wants to look."""
        try:
            if self.damaged:
                self.path.rename(self.path.with_suffix(".damaged"))
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the journal %s cannot be removed: %s", self.path, error.strerror or error)


@contextmanager
def dead_runs(directory: Path) -> Iterator[list[DeadRun]]:
    """The journals of runs that died, locked meanwhile; those of living runs are left out.

    One that cannot be opened or read is nobody's obstacle: it is passed over, with a warning.
    """
    held: list[BinaryIO] = []
    runs: list[DeadRun] = []
    try:
        for path in sorted(directory.glob(f"*{_SUFFIX}")) if directory.is_dir() else ():
            try:
                handle: BinaryIO = path.open("r+b")
                held.append(handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.exists():
                    runs.append(read_journal(path, handle.read().decode("utf-8", "replace")))
            except (FileNotFoundError, BlockingIOError):
                continue
            except OSError as error:
                log.warning("the journal %s cannot be read: %s", path, error.strerror)
        yield runs
    finally:
        for handle in held:
            handle.close()


def read_journal(path: Path, text: str) -> DeadRun:
    """What a journal's text leaves open. A line that cannot be read says nothing: it is passed over."""
    run = DeadRun(path.stem, "", path, [])
    entries: dict[int, Entry] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines):
        try:
            if line:
                _read_line(run, entries, line)
        except (ValueError, KeyError, TypeError, RecursionError):
            run.damaged += number < len(lines) - 1
    run.entries = list(entries.values())
    return run


def _read_line(run: DeadRun, entries: dict[int, Entry], line: str) -> None:
    if "\ufffd" in line:
        raise ValueError("bytes that are no UTF-8")
    record = json.loads(line)
    operation = record["op"]
    if operation == "run":
        run.run_id, run.engine_id = str(record["run"]), str(record["engine"])
        run.started = str(record.get("at", ""))
    elif operation == "intend":
        number, at = int(record["n"]), float(record.get("at", 0.0))
        entries[number] = Entry(number, str(record["kind"]), dict(record["facts"]), at=at)
    elif operation == "made":
        entries[int(record["n"])].id = str(record["id"])
    elif operation == "note":
        entries[int(record["n"])].facts.update(record["facts"])
    elif operation == "done":
        entries.pop(int(record["n"]), None)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
