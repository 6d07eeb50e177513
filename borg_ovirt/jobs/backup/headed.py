"""A sink that keeps the first bytes that went into it: the header of a file, as it was stored."""

from __future__ import annotations

from typing import Generic, TypeVar

from borg_ovirt.pipe.ports import P, Sink
from borg_ovirt.qcow2 import HEAD

R = TypeVar("R")


class _Cell(Generic[P]):
    __slots__ = ("head", "prepared")

    def __init__(self, prepared: P, head: bytes) -> None:
        self.prepared = prepared
        self.head = head


class Headed(Generic[P, R]):
    """Stands before another sink; `head` is empty where the item begins with a cell that was not read."""

    def __init__(self, sink: Sink[P, R]) -> None:
        self.head = b""
        self._sink = sink
        self._begun = False

    def prepare(self, data: memoryview) -> _Cell[P]:
        return _Cell(self._sink.prepare(data), b"" if self._begun else bytes(data[:HEAD]))

    def store(self, cell: _Cell[P]) -> bool:
        if not self._begun:
            self._begun, self.head = True, cell.head
        return self._sink.store(cell.prepared)

    def zero(self, size: int, count: int = 1) -> None:
        self._begun = True
        self._sink.zero(size, count)

    def reuse(self, reference: R) -> None:
        self._begun = True
        self._sink.reuse(reference)
