"""The process of one repository: opens it, and stores what the parent hands over, in order.

When the parent is gone the connection ends, and with it this process: what was not committed is rolled back.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from borg_ovirt.jobs.backup.workers.messages import (
    Failed,
    Log,
    Notify,
    Release,
    Reply,
    Request,
    Spec,
    map_memory,
)
from borg_ovirt.jobs.backup.workers.opening import open_spec
from borg_ovirt.jobs.backup.workers.service import RepositoryService
from borg_ovirt.pipe.malloc import tune_malloc
from borg_ovirt.redact import redact
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.writer import PreparedCell


def main() -> None:
    """Serve one parent through the descriptors of the command line: its connection, the shared memory."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The parent decides; a handler, since what is ignored would be so in ssh too.
        signal.signal(number, lambda *_: None)
    tune_malloc()
    serve(Connection(int(sys.argv[1])), map_memory(int(sys.argv[2])))


def serve(connection: Connection, memory: memoryview) -> None:
    """Open the repository that the first message names, and work until the connection ends."""
    line = _Line(connection)
    try:
        spec: Spec = connection.recv()
        logging.basicConfig(level=spec.log_level, handlers=[_Logged(line)], force=True)
        with (
            open_spec(spec) as repository,
            ThreadPoolExecutor(spec.threads) as threads,
            ExitStack() as stack,
        ):
            line.send(Reply((repository.id, repository.location)))
            _Work(line, memory, repository, RepositoryService(repository, stack), threads).run()
    except (EOFError, ConnectionError):
        return
    except BaseException as error:
        line.send(Failed.of(error))


class _Line:
    """The connection as several threads write to it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        with self._lock, suppress(OSError):  # a parent that is gone is noticed where we listen
            self.connection.send(message)


class _Logged(logging.Handler):
    """Hands the log to the parent."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        self._line.send(Log(record.name, record.levelno, redact(record.getMessage())))


@dataclass(frozen=True)
class _Cell:
    """A cell whose turn has not come; threads hash and compress it meanwhile."""

    slot: int
    prepared: Future[PreparedCell]


class _Work:
    """Does what it is told, one thing after the other.

    Only the preparing of cells runs ahead, and it asks nothing but the repository: neither the archive nor
    the disk that is under way. So it does not matter how many messages lie there when we come to listen.
    """

    def __init__(
        self,
        line: _Line,
        memory: memoryview,
        repository: Repository,
        service: RepositoryService,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._line = line
        self._memory = memory
        self._repository = repository
        self._service = service
        self._threads = threads
        self._waiting: deque[_Cell | Notify] = deque()

    def run(self) -> None:
        """Until the connection ends."""
        while True:
            if self._waiting and not self._line.connection.poll():
                self._carry_out(self._waiting.popleft())
                continue
            message: Notify | Request = self._line.connection.recv()
            if isinstance(message, Request):
                while self._waiting:
                    self._carry_out(self._waiting.popleft())
                self._line.send(Reply(self._answer(message)))
            else:
                self._waiting.append(self._begun(*message.words) if message.what == "store" else message)

    def _begun(self, slot: int, offset: int, size: int) -> _Cell:
        data = self._memory[offset : offset + size]
        return _Cell(slot, self._threads.submit(self._repository.prepare, data))

    def _carry_out(self, step: _Cell | Notify) -> None:
        if isinstance(step, _Cell):
            self._service.store(step.prepared.result())
            self._line.send(Release(step.slot))
        else:
            getattr(self._service, step.what)(*step.words)

    def _answer(self, question: Request) -> Any:
        if question.what == "same":
            offset, size, *cell = question.words
            return self._service.same(self._memory[offset : offset + size], *cell)
        return getattr(self._service, question.what)(*question.words)


if __name__ == "__main__":
    main()
