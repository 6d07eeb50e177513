"""The item stream of an archive: regular files and nothing else, and no more of it than is asked for."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from borg.helpers.msgpack import packb

from borg_ovirt.blocks import Chunk
from borg_ovirt.repository.borg_items import StoredFile, stored_files

FILE = stat.S_IFREG | 0o600
CHUNK = (b"\1" * 32, 100, 40)


class Session:
    """Serves a stream cut into pieces that end anywhere."""

    where = "/srv/repo"

    def __init__(self, *items: dict[bytes, Any], piece: int = 7) -> None:
        self._stream = b"".join(packb(item) for item in items)
        self._piece = piece
        self.served = 0

    def translate_errors(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fetch(self, ids: Iterable[bytes]) -> Iterator[bytes]:
        for start in range(0, len(self._stream), self._piece):
            self.served += 1
            yield self._stream[start : start + self._piece]


def files(session: Any, most: int | None = None) -> list[StoredFile]:
    return list(stored_files(session, [b""], most))


def item(path: bytes, mode: int = FILE, **more: Any) -> dict[bytes, Any]:
    return {b"path": path, b"mode": mode, **{key.encode(): value for key, value in more.items()}}


def test_regular_files_in_order() -> None:
    one, two = files(Session(item(b"a", chunks=[CHUNK] * 3, size=300), item(b"b", size=0)))
    assert (one.path, one.size, list(one.chunks), one.repaired) == (
        "a",
        300,
        [Chunk(b"\1" * 32, 100)] * 3,
        False,
    )
    assert (two.path, two.size, list(two.chunks)) == ("b", 0, [])


def test_parts_links_and_directories_are_no_files() -> None:
    found = files(
        Session(
            item(b"part", chunks=[CHUNK], size=100, part=1),
            item(b"directory", stat.S_IFDIR | 0o700),
            item(b"link", stat.S_IFLNK | 0o777, source=b"/etc/shadow"),
            item(b"file", chunks=[CHUNK], size=100),
        )
    )
    assert [file.path for file in found] == ["file"]


def test_repaired_chunks_are_known() -> None:
    (file,) = files(Session(item(b"a", chunks=[CHUNK], chunks_healthy=[CHUNK], size=100)))
    assert file.repaired


def test_a_size_that_is_missing_is_that_of_the_chunks() -> None:
    (file,) = files(Session(item(b"a", chunks=[CHUNK, CHUNK])))
    assert file.size == 200


def test_a_long_item_is_not_parsed_where_small_files_are_wanted() -> None:
    session = Session(item(b"small", chunks=[CHUNK], size=100), item(b"disk", chunks=[CHUNK] * 40))
    assert [file.path for file in files(session, most=39)] == ["small"]
    assert [file.path for file in files(session, most=40)] == ["small", "disk"]
