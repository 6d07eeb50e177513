"""Whose checkpoint it is, and when it may go."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from borg_ovirt.jobs.backup.checkpoints import describe, repositories_of, unneeded
from borg_ovirt.ovirt.facts.checkpoints import CheckpointFacts

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
