"""Whose checkpoint it is, and when it may go."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from borg_ovirt.errors import EngineRefused
from borg_ovirt.jobs.backup import checkpoints as module
from borg_ovirt.jobs.backup.checkpoints import Proof, describe, drop_unneeded, repositories_of, unneeded
from borg_ovirt.ovirt.facts.checkpoints import CheckpointFacts
from borg_ovirt.ovirt.facts.model import VmFacts

HERE, THERE = "a" * 64, "b" * 64


def made(number: int, description: str) -> CheckpointFacts:
    return CheckpointFacts(str(number), description, "created", None, datetime.now(timezone.utc))


def test_a_description_tells_the_repositories_though_the_journal_adds_to_it() -> None:
    assert repositories_of(describe([THERE, HERE]) + " [0123456789ab.3]") == {HERE, THERE}


@pytest.mark.parametrize(
    "text",
    ["", "nightly", "borg-ovirt by hand", f"x borg-ovirt repositories={HERE}", "borg-ovirt repositories="],
)
def test_what_we_did_not_write_is_not_ours(text: str) -> None:
    assert repositories_of(text) is None


def test_only_what_concerns_the_open_repositories_alone_and_nobody_needs_goes() -> None:
    checkpoints = [
        made(1, describe([HERE])),
        made(2, describe([HERE])),
        made(3, describe([HERE, THERE])),
        made(4, describe([THERE])),
        made(5, "another tool"),
    ]
    assert [c.id for c in unneeded(checkpoints, {HERE}, {"2"})] == ["1"]
    assert [c.id for c in unneeded(checkpoints, {HERE, THERE}, {"2", "4"})] == ["1", "3"]
    assert unneeded(checkpoints, set(), set()) == []


# -- what may be removed: never at the risk of a good one ---------------------------------------------------

STARTED = datetime(2026, 3, 1, tzinfo=timezone.utc)
ENGINE: Any = None


def held(*which: tuple[str, str, int]) -> list[CheckpointFacts]:
    """Id, whose it is, and how many days before (-) or after the start of the VM it was made."""
    whose = {"ours": describe([HERE]), "theirs": "another tool", "elsewhere": describe([THERE])}
    return [
        CheckpointFacts(name, whose[who], "created", None, STARTED + timedelta(days=days))
        for name, who, days in which
    ]


class Site:
    """An engine's checkpoints; removing one that is `broken` costs all of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: list[CheckpointFacts]) -> None:
        self.found = found
        self.asked: list[str] = []
        self.started: datetime | None = STARTED
        self.broken: set[str] = set()
        self.resting: list[str] = []
        monkeypatch.setattr(module, "list_checkpoints", lambda *_: list(self.found))
        monkeypatch.setattr(module, "running_since", lambda *_: self.started)
        monkeypatch.setattr(module, "checkpoint_disks", lambda *_: ["d-1", "d-2"])
        monkeypatch.setattr(module, "resting_disks", lambda *_: self.resting)
        monkeypatch.setattr(module, "remove_checkpoint", self.remove)

    def remove(self, engine: object, vm_id: str, name: str) -> None:
        self.asked.append(name)
        if name in self.broken and self.started is not None:
            self.found = []
            raise EngineRefused("Cannot remove the checkpoint.", status=400)
        self.found = [c for c in self.found if c.id != name]


def drop(
    site: Site, needed: set[str], proof: Proof | None = None, level: tuple[int, int] = (4, 7)
) -> list[str]:
    vm = VmFacts("vm-1", "web01", "up", "c-1", "Default", level)
    return drop_unneeded(ENGINE, vm, {HERE}, needed, proof)


@pytest.mark.parametrize(
    ("days", "proof", "goes"),
    [
        (1, None, True),  # made since the VM started: its record cannot have been lost
        (-1, None, False),
        (-1, Proof("old", None), True),
        (-1, Proof("old", frozenset({"d-1", "d-2", "d-3"})), True),
        (-1, Proof("old", frozenset({"d-1"})), False),  # d-2 was not read
        (-1, Proof("other", None), False),
    ],
)
def test_of_a_running_vm_only_what_is_sound_goes(
    monkeypatch: pytest.MonkeyPatch, days: int, proof: Proof | None, goes: bool
) -> None:
    site = Site(monkeypatch, held(("old", "ours", days), ("new", "ours", 2)))
    assert drop(site, {"new"}, proof) == []
    assert site.asked == (["old"] if goes else [])


def test_one_whose_disk_is_not_plugged_in_is_not_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, held(("old", "ours", 1), ("new", "ours", 2)))
    site.resting = ["d-1"]
    assert drop(site, {"new"}, Proof("old", None)) == []
    assert site.asked == []


def test_of_a_vm_that_is_down_each_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, held(("old", "ours", -1), ("theirs", "theirs", -1), ("new", "ours", 2)))
    site.started, site.broken = None, {"old"}
    assert drop(site, {"new"}) == []
    assert [c.id for c in site.found] == ["theirs", "new"]


@pytest.mark.parametrize(("who", "goes"), [("theirs", False), ("elsewhere", False), ("ours", True)])
def test_a_lost_one_goes_before_the_full_backup_unless_others_would_lose_theirs(
    monkeypatch: pytest.MonkeyPatch, who: str, goes: bool
) -> None:
    site = Site(monkeypatch, held(("other", who, -2), ("lost", "ours", -1)))
    site.broken = {"other", "lost"}
    drop(site, set())
    assert bool(site.asked) == goes


def test_an_invalid_one_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, held(("other", "theirs", -2), ("lost", "ours", -1)))
    site.found[0] = CheckpointFacts("other", "another tool", "invalid", None, STARTED)
    drop(site, set())
    assert site.asked == ["lost"]


@pytest.mark.parametrize(("level", "goes"), [((4, 5), False), ((4, 6), True)])
def test_on_old_clusters_all_must_be_sound(
    monkeypatch: pytest.MonkeyPatch, level: tuple[int, int], goes: bool
) -> None:
    site = Site(monkeypatch, held(("theirs", "theirs", -1), ("old", "ours", 1), ("new", "ours", 2)))
    drop(site, {"new"}, level=level)
    assert bool(site.asked) == goes


def test_what_was_lost_all_the_same_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, held(("old", "ours", 1), ("new", "ours", 2)))
    site.broken = {"old"}
    (warning,) = drop(site, {"new"})
    assert "lost all checkpoints of VM web01" in warning
