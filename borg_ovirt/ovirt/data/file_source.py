"""The file of a layer on its volume: what lies behind the file's end is nobody's, and counts as zeros."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

from borg_ovirt.blocks import Extent
from borg_ovirt.ovirt.data.imageio import Reader, Source
from borg_ovirt.ovirt.data.transfer_session import TransferSession
from borg_ovirt.qcow2_end import file_end


class FileSource(Source):
    """A qcow2 file. `end` is where it ends, `size` where its volume does, in bytes."""

    def __init__(self, session: TransferSession, size: int) -> None:
        super().__init__(session, size)
        self.end = size
        found = self._find_end()
        if found is not None:
            self.end = found

    def _find_end(self) -> int | None:
        reader = super().open()

        def read(offset: int, length: int) -> bytes:
            data = bytearray(length)
            for _ in reader.read(offset, [memoryview(data)]):
                pass
            return bytes(data)

        try:
            return file_end(read, self.size)
        finally:
            reader.close()

    def open(self) -> Reader:
        return _FileReader(self._session, self.size, self.end)

    def extents(self, context: str) -> Iterator[Extent]:
        """Two: of the bytes of a file nobody tells zeros or changes."""
        yield Extent(0, self.end, zero=False)
        if self.end < self.size:
            yield Extent(self.end, self.size - self.end, zero=True)


class _FileReader(Reader):
    """Reads up to the end; behind it are zeros."""

    def __init__(self, session: TransferSession, size: int, end: int) -> None:
        super().__init__(session, size)
        self._end = end

    def read(self, offset: int, views: Sequence[memoryview]) -> Generator[memoryview, None, None]:
        inside, position = [], offset
        for view in views:
            data = view.cast("B")
            inside.append(data[: max(0, min(len(data), self._end - position))])
            position += len(data)
        parts = [part for part in inside if len(part)]
        with closing(super().read(offset, parts)) as filled:
            for view, part in zip(views, inside, strict=True):
                if len(part):
                    next(filled)
                data = view.cast("B")
                data[len(part) :] = bytes(len(data) - len(part))
                yield view
