"""Change heat: what stands out against a VM's own nights, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import cast
from uuid import UUID

import pytest

from borg_ovirt.blocks import GiB, MiB
from borg_ovirt.jobs.archives.heat import NIGHTS, Night, heats, in_words, nights
from borg_ovirt.jobs.health.doctor_changes import look_at_changes
from borg_ovirt.jobs.health.vms import History, judged
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment, FiguresRecord
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.series import Series, all_series

NOW = datetime(2026, 6, 30, 12, tzinfo=timezone.utc)
VM = str(UUID(int=1))


def archive(number: int, figures: FiguresRecord | None) -> ArchiveInfo:
    comment = ArchiveComment(
        vm_id=VM, vm_name="web", mode="image", engine="e", kind="incremental", number=number, figures=figures
    )
    name = f"a{number}"
    return ArchiveInfo(name, name, NOW - timedelta(days=99 - number), comment, timedelta(0), 0, 0)


def figures(changed: float, compressed: float = 0.4, *, size: int = 100 * GiB) -> FiguresRecord:
    """Of a VM with ten GiB of data."""
    new = int(changed * 10 * GiB)
    return FiguresRecord(size=size, data=10 * GiB, read=new, new=new, added=int(new * compressed), total=0)


def last(*told: FiguresRecord | None) -> str | None:
    """The heat of the last of these nights."""
    (series,) = all_series([archive(n, one) for n, one in enumerate(told, 1)], NOW)
    return heats(series).get(series.newest.name)


FIRST = figures(1.0)
QUIET = [figures(0.01 + 0.001 * (n % 3)) for n in range(10)]


def test_much_that_changed_and_does_not_compress_is_told_with_figures() -> None:
    assert last(FIRST, *QUIET, figures(0.41, 0.99)) == (
        "it changed as never before: 41% of its data changed, against 1.1% (at most 1.2%) in the 10 nights "
        "before; what it wrote compressed to 99%, against 40.0% (at most 40.0%) in the 10 nights before"
    )


CHANGES: list[tuple[str, list[float], float, bool]] = [
    ("a quiet VM, all of it", [0.01] * 10, 1.0, True),
    ("a quiet VM, a little more than ever", [0.01] * 10, 0.04, False),
    ("a still VM, less than is worth a word", [0.0] * 10, 0.049, False),
    ("a still VM", [0.0] * 10, 0.06, True),
    ("a busy VM as always", [0.3, 0.35, 0.28, 0.33, 0.31, 0.36, 0.3, 0.29], 0.37, False),
    ("a busy VM, all of it", [0.3, 0.35, 0.28, 0.33, 0.31, 0.36, 0.3, 0.29], 0.95, True),
    ("a dump each Sunday", [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.4] * 3, 0.42, False),
    ("more than the dump of Sunday", [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.4] * 3, 0.7, True),
    ("now this, now that", [0.1, 0.5, 0.2, 0.6, 0.05, 0.4, 0.3, 0.2], 0.8, False),
    ("too few nights", [0.01] * (NIGHTS - 1), 1.0, False),
    ("just enough nights", [0.01] * NIGHTS, 1.0, True),
    ("one wild night does not hide the next, wilder one", [0.01] * 6 + [0.3] + [0.01] * 3, 0.6, True),
]


@pytest.mark.parametrize(("before", "now", "hot"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_share_that_changed(before: Sequence[float], now: float, hot: bool) -> None:
    told = in_words(Night(now, None), [Night(one, None) for one in before])
    assert bool(told) == hot, told


RATIOS: list[tuple[str, list[float | None], float | None, bool]] = [
    ("text becomes noise", [0.4, 0.45, 0.38, 0.41, 0.5, 0.42, 0.39], 0.98, True),
    ("noise as always", [0.97, 0.99, 0.98, 1.0, 0.98, 0.97, 0.99], 1.0, False),
    ("photographs now and then", [0.4, 0.98, 0.4, 0.41, 0.4, 0.42, 0.4, 0.4], 1.0, False),
    ("somewhat denser", [0.4, 0.45, 0.38, 0.41, 0.5, 0.42, 0.39], 0.56, False),
    ("too little was written to tell", [0.4, 0.45, 0.38, 0.41, 0.5, 0.42, 0.39], None, False),
    ("too few nights told something", [0.4, None, None, 0.41, 0.5, 0.42, None, 0.4], 0.98, False),
]


@pytest.mark.parametrize(("before", "now", "hot"), [c[1:] for c in RATIOS], ids=[c[0] for c in RATIOS])
def test_compression(before: Sequence[float | None], now: float | None, hot: bool) -> None:
    told = in_words(Night(0.03, now), [Night(0.03, one) for one in before])
    assert bool(told) == hot, told
    assert told is None or "compressed" in told


def test_what_tells_nothing() -> None:
    # The first archive brings everything; those without figures, and those after them, are left out.
    assert nights([archive(1, FIRST)]) == {}
    some = [
        archive(1, FIRST),
        archive(2, QUIET[0]),
        archive(3, None),
        archive(4, FIRST),
        archive(5, QUIET[1]),
    ]
    assert set(nights(some)) == {"a2", "a5"}
    # A disk that was added is no change of what was there.
    grown = figures(0.5, size=106 * GiB)
    assert last(FIRST, *QUIET, grown) is None
    assert last(FIRST, *QUIET, figures(0.5)) is not None
    # A few new bytes say nothing of how well they compress.
    few = FiguresRecord(size=GiB, data=GiB, read=MiB, new=MiB, added=2 * MiB, total=0)
    assert nights([archive(1, FIRST), archive(2, few)])["a2"].compressed is None


def test_it_is_told_once_for_each_archive_and_only_of_those() -> None:
    told = [FIRST, *QUIET, figures(0.41), *QUIET[:3]]
    (series,) = all_series([archive(n, one) for n, one in enumerate(told, 1)], NOW)
    assert list(heats(series)) == ["a12"]
    assert last(*told) is None


def test_doctor_and_vms_tell_of_it() -> None:
    told = [FIRST, *QUIET, figures(0.41)]
    now = datetime.now(timezone.utc)
    nightly = [
        replace(archive(n, one), time=now - timedelta(days=len(told) - n, hours=1))
        for n, one in enumerate(told, 1)
    ]
    held = all_series(nightly, now)

    class Held:
        def series(self) -> list[Series]:
            return held

    (finding,) = look_at_changes("repository local", cast(Repository, Held()))
    assert finding.status == "warning"
    assert finding.text.startswith("VM web, archive a12: it changed as never before: 41% of its data changed")
    (line,) = judged(("", "e"), [], {"local": History(held, {})}, {}, now)
    assert line.heat is not None
    assert line.heat.startswith("it changed as never before")
    held = all_series([replace(info, time=info.time - timedelta(days=8)) for info in nightly], now)
    assert list(look_at_changes("repository local", cast(Repository, Held()))) == []
