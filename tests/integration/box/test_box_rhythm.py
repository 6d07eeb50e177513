"""The rhythm of the box: a table of what an engine took, scaled by one factor."""

from __future__ import annotations

import time

import ovirtsdk4 as sdk
import pytest
from box_client import MIB, Client
from ovirtbox.box import Box, DiskSpec
from ovirtbox.rhythm import SECONDS, Rhythm, Span


@pytest.mark.parametrize(
    ("step", "least", "most"),
    # November 2026: what was seen of idle VMs, the engine polling each second
    [
        ("hybrid ready", 5.7, 17.6),
        ("hybrid end", 26, 48),
        ("live ready", 4, 17),
        ("cold ready", 9, 11),
        ("backup end", 2.4, 7.6),
        ("transfer end", 2.0, 8.6),
        ("transfer cancelled", 4, 13),
        ("merge", 17, 26),
    ],
)
def test_what_was_seen(step: str, least: float, most: float) -> None:
    assert (SECONDS[step].least, SECONDS[step].most) == (least, most)


def test_steps_take_what_was_seen_scaled() -> None:
    rhythm = Rhythm(0.5)
    for step, span in SECONDS.items():
        drawn = sorted(rhythm.seconds(step) / 0.5 for _ in range(201))
        assert span.least <= drawn[0] < span.usual < drawn[-1] <= span.most
        assert abs(drawn[100] - span.usual) < 0.25 * (span.most - span.least)
    assert Rhythm(0).seconds("merge") == 0 == Rhythm(1).seconds(None)
    first, second = Rhythm(1), Rhythm(1)
    assert [first.seconds("merge") for _ in range(5)] == [second.seconds("merge") for _ in range(5)]


@pytest.mark.parametrize(
    ("cluster", "ready", "end"),
    [("Default", "hybrid ready", "hybrid end"), ("old", "live ready", "backup end")],
    ids=["hybrid", "live"],
)
def test_a_backup_takes_its_time(
    box: Box, connection: sdk.Connection, cluster: str, ready: str, end: str
) -> None:
    if cluster == "old":
        box.make_cluster("old", (4, 6))
    vm = box.make_vm(f"slow-{cluster}", [DiskSpec(8 * MIB)], cluster=cluster)
    client = Client(box, connection)
    with box.rhythm(0.03):
        begun = time.monotonic()
        backup = client.start_backup(vm, box.disks(vm), legacy=False)
        made = time.monotonic()
        client.end_backup(vm, backup.id)
        ended = time.monotonic()
    assert made - begun >= _least(SECONDS[ready])
    assert ended - made >= _least(SECONDS[end])
    assert box.engine.rhythm.factor == 0
    assert box.clean() == []


def _least(span: Span) -> float:
    return span.least * 0.03
