"""A chunk is there if its segment is: lost, cut off, of a commit that somebody compacted meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from borg_ovirt.repository.borg_segments import Segments

CHUNK, HEADER = b"c" * 32, 41


class Repository:
    """An index, and the segments 3 and 7 as files."""

    def __init__(self, root: Path, place: tuple[int, int]) -> None:
        for number in (3, 7):
            (root / str(number)).write_bytes(bytes(100))
        self.index = {CHUNK: place}
        self.io = SimpleNamespace(
            get_latest_segment=lambda: 7, segment_filename=lambda number: str(root / str(number))
        )

    def __contains__(self, id_: bytes) -> bool:
        return id_ in self.index


def holds(repository: Any, id_: bytes = CHUNK) -> bool:
    return Segments(repository).hold(id_)


def test_what_the_index_names_must_lie_there(tmp_path: Path) -> None:
    assert holds(Repository(tmp_path, (3, 8)))
    assert holds(Repository(tmp_path, (3, 100 - HEADER)))
    assert not holds(Repository(tmp_path, (3, 101 - HEADER))), "cut off"
    assert not holds(Repository(tmp_path, (4, 8))), "lost"
    assert not holds(Repository(tmp_path, (3, 8)), b"x" * 32)


def test_what_is_being_written_is_not_looked_at(tmp_path: Path) -> None:
    assert holds(Repository(tmp_path, (8, 5000)))


def test_without_a_lock_the_index_is_taken_anew_before_anything_is_called_lost(tmp_path: Path) -> None:
    repository = Repository(tmp_path, (4, 8))
    asked: list[bool] = []

    def follow(found: tuple[int, int] | None) -> Any:
        def work() -> bool:
            asked.append(True)
            if found:
                repository.index[CHUNK] = found
            return found is not None

        return work

    repository.follow = follow((7, 8))  # type: ignore[attr-defined]
    assert holds(repository)
    repository.index[CHUNK] = (4, 8)
    repository.follow = follow(None)  # type: ignore[attr-defined]
    assert not holds(repository)
    assert len(asked) == 2
