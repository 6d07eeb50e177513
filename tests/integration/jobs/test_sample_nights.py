"""Sample nights: a disk that rests, a guest that crashes between two runs, and every answer lost once."""

from __future__ import annotations

import pytest
from harness import Desk
from ovirtbox.box import Box, DiskSpec

MIB = 1 << 20
DATA, CHANGED = 6 * MIB, 2 * MIB
POSTS = (
    "/vms/*/backups",
    "/vms/*/backups/*/finalize",
    "/imagetransfers",
    "/imagetransfers/*/finalize",
    "/imagetransfers/*/cancel",
    "/vms/*/snapshots",
    "/events",
)


@pytest.fixture(scope="module", autouse=True)
def older(box: Box) -> None:
    box.make_cluster("Older", (4, 6))


def lose_every_answer(box: Box) -> None:
    """The first of each kind of POST, and of transfers (one a disk) the second."""
    for path in POSTS:
        box.inject.lose("POST", path)
    box.inject.lose("POST", "/imagetransfers", nth=2)


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("cluster", "way"), [("Default", "live backup"), ("Older", "live backup")], ids=["4.7", "4.6"]
)
def test_three_nights(box: Box, desk: Desk, cluster: str, way: str) -> None:
    """Complete archives, nothing left behind, all of it read at most once where the engine forces that."""
    resting = DiskSpec(8 * MIB, alias="resting", active=False)
    vm = box.make_vm(f"night-{cluster}", [DiskSpec(24 * MIB), resting], cluster=cluster, agent=True)
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, MIB, DATA, seed=number)

    def night(kind: str, most: int) -> None:
        box.shift(days=1)
        truth = {disk.id: box.sha(disk) for disk in box.disks(vm)}
        lost = box.inject.hits["lose"]
        lose_every_answer(box)
        told = desk.create(vm, "--sample", "0")
        assert box.inject.hits["lose"] - lost >= 5
        box.inject.clear()
        assert (told["way"], told["kind"], told["warnings"]) == (way, kind, [])
        assert told["bytes_read"] <= most
        for disk in box.disks(vm):
            assert desk.archived_sha(told["archive"], disk) == truth[disk.id], disk.alias
        assert box.clean() == []
        assert desk.a_day_later() == []  # nothing was to be ended
        desk.assert_clean()

    rounded = DATA + 8 * MIB  # whole cells
    night("full", 2 * rounded)
    box.fill(box.disks(vm)[0], 12 * MIB, CHANGED, seed=7)
    box.crash_vm(vm)
    box.start_vm(vm)
    night("full", 2 * rounded)
    box.fill(box.disks(vm)[0], 4 * MIB, CHANGED, seed=8)
    night("incremental", CHANGED + DATA + 16 * MIB)
    assert len(desk.archives()) == 3
    desk.borg("check", "--verify-data", desk.repo)
