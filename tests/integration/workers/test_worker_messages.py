"""What one repository's process is told it does in order, whenever the scheduler lets it listen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import zygote
from harness import PASSPHRASE

from borg_ovirt.jobs.backup.workers.messages import (
    Failed,
    Notify,
    Release,
    Reply,
    Request,
    Spec,
    make_memory,
    map_memory,
)

CELL = 64 << 10


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, dict[str, str]]:
    env = {**os.environ, "BORG_BASE_DIR": str(tmp_path / "borg"), "BORG_PASSPHRASE": PASSPHRASE}
    code, _, err = zygote.run("borg", ["init", "-e", "repokey", str(tmp_path / "repo")], env)
    assert code == 0, err
    return str(tmp_path / "repo"), env


@contextmanager
def late_process(memory: int, env: dict[str, str], messages: list[Any]) -> Iterator[Connection]:
    """A process that begins to listen when all messages lie before it."""
    ours, theirs = socket.socketpair()
    connection = Connection(ours.detach())
    for message in messages:
        connection.send(message)
    with theirs:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "borg_ovirt.jobs.backup.workers.process",
                str(theirs.fileno()),
                str(memory),
            ],
            env=env,
            pass_fds=(theirs.fileno(), memory),
        )
    try:
        yield connection
    finally:
        connection.close()
        process.wait(60)


def answers(connection: Connection, count: int) -> tuple[list[Any], list[int]]:
    """So many replies, and the places of the memory that were given back meanwhile."""
    replies, released = [], []
    while len(replies) < count:
        assert connection.poll(60), "the process says nothing"
        message = connection.recv()
        assert not isinstance(message, Failed), message.message
        if isinstance(message, Release):
            released.append(message.slot)
        elif isinstance(message, Reply):
            replies.append(message.value)
    return replies, released


def test_messages_that_lie_there_before_it_listens_do_not_overtake_each_other(
    repository: tuple[str, dict[str, str]],
) -> None:
    location, env = repository
    memory = make_memory()
    view = map_memory(memory)
    view[0:CELL] = os.urandom(CELL)
    view[CELL : 2 * CELL] = os.urandom(CELL)
    started = datetime.now(timezone.utc)
    told: list[Any] = [Spec(location), Notify("begin", ("late-2026-01-01T000000Z", started))]
    for name in ("one", "two"):
        told += [
            Notify("item", (name, 4 * CELL, CELL)),
            Notify("store", (0, 0, CELL)),
            Notify("zero", (CELL, 2)),
            Notify("store", (1, CELL, CELL)),
            Request("complete"),
        ]
    told += [Notify("end"), Request("all_names")]
    with late_process(memory, env, told) as connection:
        replies, released = answers(connection, 4)
    # What was new: the second disk has the cells of the first.
    assert replies[1:] == [2 * CELL, 0, set()]
    assert released == [0, 1, 0, 1]
    os.close(memory)
