"""`cleanup` removes what dead runs left; what only bears our tag is asked for, and never a living run's."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from unit.ovirt.script import Answer, Script
from unit.ovirt.tracked.test_cleanup_scripted import dead_run

from borg_ovirt.jobs.health.cleanup import CleanupResult, cleanup
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import IN_FLIGHT
from borg_ovirt.ovirt.tracked.journal import Journal

NOW = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
LIVING, STRANGER = "0123456789ab", "fedcba987654"


def snapshot(run: str, created: str) -> str:
    return (
        f"<snapshot id='of-{run}'><description>borg-ovirt nightly [{run}.1]</description>"
        f"<snapshot_status>ok</snapshot_status><date>{created}</date></snapshot>"
    )


@pytest.fixture
def tagged(script: Script) -> Script:
    """A VM with a snapshot of a run of this machine, and one of a run that nobody here knows."""
    script.on("GET", "/vms", "<vms><vm id='v-1'><name>web01</name></vm></vms>")
    script.on("GET", "/vms/v-1/backups", "<backups/>")
    script.on("GET", "/disks", "<disks/>")
    old = "2026-03-01T12:00:00.000Z"
    script.on(
        "GET",
        "/vms/v-1/snapshots",
        f"<snapshots>{snapshot(LIVING, old)}{snapshot(STRANGER, old)}</snapshots>",
    )
    path = f"/vms/v-1/snapshots/of-{STRANGER}"
    script.on("GET", path, snapshot(STRANGER, old), Answer(404, "<fault/>"))
    script.on("DELETE", path, Answer())
    return script


def tidy(engine: Engine, state: Path, **options: object) -> CleanupResult:
    return cleanup(engine, state, NOW, **options)  # type: ignore[arg-type]


def test_a_living_run_is_left_alone_whatever_is_asked(
    tagged: Script, engine: Engine, journal: Journal
) -> None:
    result = tidy(engine, journal.directory, tagged=True)
    assert [line.run for line in result.found] == [STRANGER]
    assert [r.path for r in tagged.asked("DELETE")] == [f"/vms/v-1/snapshots/of-{STRANGER}"]
    assert result.left == []
    assert len(result.removed) == 1


def test_what_no_journal_knows_is_removed_only_when_asked_for(
    tagged: Script, engine: Engine, journal: Journal
) -> None:
    result = tidy(engine, journal.directory)
    assert tagged.asked("DELETE") == []
    assert "--tagged removes it" in result.others[0]
    assert result.left == []


def test_what_is_young_may_be_a_living_runs_elsewhere(
    tagged: Script, engine: Engine, journal: Journal
) -> None:
    result = tidy(engine, journal.directory, tagged=True, older_than=timedelta(days=30))
    assert tagged.asked("DELETE") == []
    assert "too young" in result.others[0]


def test_a_dry_run_removes_nothing(tagged: Script, engine: Engine, journal: Journal) -> None:
    result = tidy(engine, journal.directory, tagged=True, dry_run=True)
    assert len(result.found) == 1
    assert (result.removed, result.left) == ([], [])
    assert tagged.asked("DELETE") == []


def test_what_may_still_come_to_be_is_no_clean_end(script: Script, engine: Engine, tmp_path: Path) -> None:
    """A run was killed while it waited for an answer: the engine shows nothing, which proves nothing."""
    path = dead_run(tmp_path, ("backup", None, {"vm": "v-1", "description": "x"}), at=time.time())
    script.on("GET", "/vms", "<vms/>")
    script.on("GET", "/vms/v-1/backups", "<backups/>")
    script.on("GET", "/disks", "<disks/>")
    result = tidy(engine, tmp_path)
    assert (result.left, result.removed, result.is_done) == ([], [], False)
    assert "may still come to be" in result.unsure[0]
    dead_run(tmp_path, ("backup", None, {"vm": "v-1", "description": "x"}), at=time.time() - IN_FLIGHT)
    assert tidy(engine, tmp_path).is_done
    assert not path.exists()
