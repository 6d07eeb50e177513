"""What a dead run left is ended in the right order, and nothing of anybody else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.ovirt.script import Answer, Request, Script, fault

from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.waiting import Patience
from borg_ovirt.ovirt.tracked import cleanup
from borg_ovirt.ovirt.tracked.cleanup import heal, leftovers, of_vm
from borg_ovirt.ovirt.tracked.tagged import Tagged, find_tagged, remove_tagged, run_of

GONE = Answer(404, "<fault/>")
DONE = Answer(body="<action><status>complete</status></action>")
DEAD, LIVING = "0123456789ab", "fedcba987654"


def dead_run(
    directory: Path,
    *entries: tuple[str, str | None, dict[str, object]],
    engine: str = "engine-1",
    at: float = 0.0,
) -> Path:
    """The journal of a run that died; of what has no id only the intent is known."""
    directory.mkdir(exist_ok=True)
    lines: list[dict[str, object]] = [
        {"op": "run", "run": DEAD, "engine": engine, "pid": 1, "at": "2026-03-01T12:00:00+00:00"}
    ]
    for number, (kind, object_id, facts) in enumerate(entries, 1):
        lines.append({"op": "intend", "n": number, "kind": kind, "facts": facts, "at": at})
        if object_id:
            lines.append({"op": "made", "n": number, "id": object_id})
    path = directory / f"{DEAD}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def done(script: Script) -> list[tuple[str, str]]:
    """What changed something."""
    return [(r.method, r.path) for r in script.requests if r.method in ("POST", "DELETE", "PUT")]


def transfer(phase: str) -> str:
    return (
        f"<image_transfer id='t-1'><phase>{phase}</phase><image id='d-1'/>"
        "<direction>download</direction><inactivity_timeout>4711</inactivity_timeout></image_transfer>"
    )


def backup(phase: str, description: str = "x", id_: str = "b-1") -> str:
    return f"<backup id='{id_}'><phase>{phase}</phase><description>{description}</description></backup>"


def snapshot(status: str, description: str = "x", id_: str = "s-1") -> str:
    return (
        f"<snapshot id='{id_}'><snapshot_status>{status}</snapshot_status>"
        f"<description>{description}</description></snapshot>"
    )


def vm(made: str = "2026-03-01T12:00:01.000Z") -> str:
    return f"<vm id='v-1'><name>web01</name><status>down</status><creation_time>{made}</creation_time></vm>"


def test_everything_in_the_order_of_ending(script: Script, engine: Engine, tmp_path: Path) -> None:
    """A guest is thawed first; then what holds locks goes before what is locked."""
    path = dead_run(
        tmp_path,
        ("disk", "d-9", {"id": "d-9", "alias": "copy"}),
        ("snapshot", "s-1", {"vm": "v-1", "description": "x"}),
        ("backup", "b-1", {"vm": "v-1", "description": "x"}),
        ("transfer", "t-1", {"disk": "d-1", "direction": "download", "mark": 4711}),
        ("freeze", "v-1", {"vm": "v-1", "id": "v-1"}),
    )
    script.on("POST", "/vms/v-1/thawfilesystems", DONE)
    states = ["transferring", "transferring", "finished_failure"]
    script.on("GET", "/imagetransfers/t-1", *map(transfer, states))
    script.on("POST", "/imagetransfers/t-1/cancel", DONE)
    script.on("GET", "/vms/v-1/backups/b-1", *map(backup, ["ready", "ready", "succeeded"]))
    script.on("GET", "/vms/v-1/diskattachments", "<disk_attachments/>")
    script.on("POST", "/vms/v-1/backups/b-1/finalize", DONE)
    script.on("GET", "/vms/v-1/snapshots/s-1", snapshot("ok"), snapshot("ok"), snapshot("locked"), GONE)
    script.on("DELETE", "/vms/v-1/snapshots/s-1", Answer())
    script.on("GET", "/disks/d-9", "<disk id='d-9'/>", GONE)
    script.on("DELETE", "/disks/d-9", Answer())
    told: list[str] = []
    assert len(heal(engine, tmp_path, told.append)) == 5
    assert done(script) == [
        ("POST", "/vms/v-1/thawfilesystems"),
        ("POST", "/imagetransfers/t-1/cancel"),
        ("POST", "/vms/v-1/backups/b-1/finalize"),
        ("DELETE", "/vms/v-1/snapshots/s-1"),
        ("DELETE", "/disks/d-9"),
    ]
    assert not path.exists()
    assert [line.split()[0] for line in told] == ["ending", "ended"] * 5


def test_what_could_not_be_ended_stays_for_the_next_run(
    script: Script, engine: Engine, tmp_path: Path
) -> None:
    path = dead_run(
        tmp_path,
        ("backup", "b-1", {"vm": "v-1", "description": "x"}),
        ("disk", "d-9", {"id": "d-9", "alias": "copy"}),
    )
    script.on("GET", "/vms/v-1/backups/b-1", Answer(403, "<fault/>"))
    script.on("GET", "/disks/d-9", "<disk id='d-9'/>", GONE)
    script.on("DELETE", "/disks/d-9", Answer())
    told: list[str] = []
    assert heal(engine, tmp_path, told.append) == ["disk d-9 (alias copy)"]
    assert path.exists()
    assert any(line.startswith("could not end the backup") for line in told)


def test_a_run_of_another_engine_is_not_touched(script: Script, engine: Engine, tmp_path: Path) -> None:
    path = dead_run(tmp_path, ("disk", "d-9", {"id": "d-9", "alias": "copy"}), engine="engine-2")
    assert heal(engine, tmp_path) == []
    assert script.requests == []
    assert path.exists()


def test_what_has_ended_by_itself_is_not_ended_again(script: Script, engine: Engine, tmp_path: Path) -> None:
    path = dead_run(
        tmp_path,
        ("transfer", "t-1", {"disk": "d-1", "direction": "upload", "mark": 4711}),
        ("backup", "b-1", {"vm": "v-1", "description": "x"}),
        ("snapshot", "s-1", {"vm": "v-1", "description": "x"}),
        ("vm", "v-1", {"id": "v-1", "name": "web01"}),
        ("disk", "d-9", {"id": "d-9", "alias": "copy"}),
    )
    script.on("GET", "/imagetransfers/t-1", transfer("finished_success"))
    script.on("GET", "/vms/v-1/backups/b-1", backup("succeeded"))
    script.on("GET", "/vms/v-1/snapshots/s-1", GONE)
    script.on("GET", "/vms/v-1", GONE)
    script.on("GET", "/disks/d-9", GONE)
    assert heal(engine, tmp_path) == []
    assert done(script) == []
    assert not path.exists()


def test_what_is_known_by_its_mark_alone_is_looked_for(
    script: Script, engine: Engine, tmp_path: Path
) -> None:
    dead_run(
        tmp_path,
        ("transfer", None, {"disk": "d-1", "direction": "download", "mark": 4711}),
        ("backup", None, {"vm": "v-1", "description": "ours"}),
        ("snapshot", None, {"vm": "v-1", "description": "ours"}),
    )
    script.on("GET", "/imagetransfers", f"<image_transfers>{transfer('transferring')}</image_transfers>")
    script.on(
        "GET",
        "/imagetransfers/t-1",
        transfer("transferring"),
        transfer("transferring"),
        transfer("finished_failure"),
    )
    script.on("POST", "/imagetransfers/t-1/cancel", DONE)
    others = backup("ready", "another's", "b-7")
    script.on("GET", "/vms/v-1/backups", f"<backups>{others}</backups>")
    script.on("GET", "/vms/v-1/snapshots", f"<snapshots>{snapshot('ok', 'another', 's-7')}</snapshots>")
    assert len(heal(engine, tmp_path)) == 1
    assert done(script) == [("POST", "/imagetransfers/t-1/cancel")]


@pytest.mark.parametrize(
    ("made", "ours"), [("2026-03-01T12:00:01.000Z", True), ("2026-03-01T11:59:59.000Z", False)]
)
def test_a_vm_that_is_older_than_the_run_is_somebody_elses(
    script: Script, engine: Engine, tmp_path: Path, made: str, ours: bool
) -> None:
    dead_run(tmp_path, ("vm", None, {"id": "v-1", "name": "web01"}))
    script.on("GET", "/vms/v-1", *[vm(made)] * (2 if ours else 1), GONE)
    script.on("GET", "/vms/v-1/diskattachments", "<disk_attachments/>")
    script.on("DELETE", "/vms/v-1", Answer())
    assert (heal(engine, tmp_path) != []) == ours
    assert (script.asked("DELETE") != []) == ours


@pytest.mark.parametrize(("attached", "keeps"), [(["d-9"], False), (["d-9", "d-1"], True), ([], True)])
def test_only_disks_of_the_run_go_with_its_vm(
    script: Script, engine: Engine, tmp_path: Path, attached: list[str], keeps: bool
) -> None:
    dead_run(tmp_path, ("vm", "v-1", {"id": "v-1", "name": "web01"}), ("disk", "d-9", {"id": "d-9"}))
    script.on("GET", "/vms/v-1", vm(), vm(), GONE)
    found = "".join(f"<disk_attachment id='{d}'><disk id='{d}'/></disk_attachment>" for d in attached)
    script.on("GET", "/vms/v-1/diskattachments", f"<disk_attachments>{found}</disk_attachments>")
    script.on("DELETE", "/vms/v-1", Answer())
    script.on("GET", "/disks/d-9", GONE)
    heal(engine, tmp_path)
    (removal,) = script.asked("DELETE")
    assert (removal.query.get("detach_only") == "true") == keeps


def test_a_disk_in_use_was_not_only_intended(script: Script, engine: Engine, tmp_path: Path) -> None:
    dead_run(tmp_path, ("disk", None, {"id": "d-9", "alias": "copy"}))
    script.on("GET", "/disks/d-9", "<disk id='d-9'><vms><vm id='v-1'/></vms></disk>")
    assert heal(engine, tmp_path) == []
    assert script.asked("DELETE") == []


def test_a_merge_that_fails_is_told_and_kept(script: Script, engine: Engine, tmp_path: Path) -> None:
    path = dead_run(tmp_path, ("snapshot", "s-1", {"vm": "v-1", "description": "x"}))
    script.on(
        "GET", "/vms/v-1/snapshots/s-1", snapshot("ok"), snapshot("ok"), snapshot("locked"), snapshot("ok")
    )
    script.on("DELETE", "/vms/v-1/snapshots/s-1", Answer())
    told: list[str] = []
    assert heal(engine, tmp_path, told.append) == []
    assert "could not be merged" in told[-1]
    assert path.exists()
    assert [left.id for left in leftovers(tmp_path)] == ["s-1"]


def test_so_is_the_snapshot_that_the_engine_made_for_a_backup(
    script: Script, engine: Engine, tmp_path: Path
) -> None:
    """The backup is over, and its merge failed."""
    dead_run(tmp_path, ("backup", "b-1", {"vm": "v-1", "description": "x", "snapshot": "s-1"}))
    script.on("GET", "/vms/v-1/backups/b-1", backup("succeeded"))
    script.on(
        "GET", "/vms/v-1/snapshots/s-1", snapshot("ok"), snapshot("ok"), snapshot("locked"), snapshot("ok")
    )
    script.on("DELETE", "/vms/v-1/snapshots/s-1", Answer())
    told: list[str] = []
    assert heal(engine, tmp_path, told.append) == []
    assert "could not be merged" in told[-1]
    assert [left.id for left in leftovers(tmp_path)] == ["b-1"]


# -- what bears our tag, though no journal of this machine knows it --------------------------------------


def marked(run: str) -> str:
    return f"borg-ovirt nightly [{run}.1]"


@pytest.fixture
def tagged(script: Script) -> Script:
    script.on("GET", "/vms", "<vms><vm id='v-1'><name>web01</name></vm></vms>")
    script.on("GET", "/disks", "<disks/>")
    script.on(
        "GET",
        "/vms/v-1/backups",
        "<backups>"
        + backup("ready", marked(DEAD), "b-1")
        + backup("ready", marked(LIVING), "b-2")
        + backup("succeeded", marked(DEAD), "b-3")
        + backup("ready", "somebody's [0123456789ab.1]", "b-4")
        + "</backups>",
    )
    script.on(
        "GET",
        "/vms/v-1/snapshots",
        f"<snapshots>{snapshot('ok', marked(DEAD))}{snapshot('ok', 'by hand', 's-2')}"
        f"{snapshot('ok', marked(LIVING), 's-3')}</snapshots>",
    )
    return script


def test_only_what_is_ours_unfinished_and_of_no_known_run(tagged: Script, engine: Engine) -> None:
    assert [(t.kind, t.id) for t in find_tagged(engine, {LIVING})] == [("backup", "b-1"), ("snapshot", "s-1")]
    assert [t.id for t in find_tagged(engine, ())] == ["b-1", "b-2", "s-1", "s-3"]


@pytest.mark.parametrize(
    ("description", "run"),
    [
        ("borg-ovirt nightly [0123456789ab]", DEAD),
        ("borg-ovirt two\nlines [0123456789ab.17]", DEAD),
        ("borg-ovirt nightly", None),
        ("my borg-ovirt [0123456789ab]", None),
        ("borg-ovirt x [0123456789ab] and more", None),
        (None, None),
    ],
)
def test_whose_a_description_is(description: str | None, run: str | None) -> None:
    assert run_of(description) == run


def test_the_transfers_of_a_backup_go_before_it(tagged: Script, engine: Engine) -> None:
    """The engine tells of no transfer which backup it is of: those of its disks are."""
    found = find_tagged(engine, {LIVING})[0]
    tagged.on("GET", "/vms/v-1/backups/b-1/disks", "<disks><disk id='d-1'/></disks>")
    tagged.on(
        "GET",
        "/imagetransfers",
        f"<image_transfers>{transfer('transferring')}"
        f"{transfer('transferring').replace('t-1', 't-2').replace('d-1', 'd-2')}</image_transfers>",
    )
    tagged.on("GET", "/imagetransfers/t-1", transfer("transferring"), transfer("finished_failure"))
    tagged.on("POST", "/imagetransfers/t-1/cancel", DONE)
    tagged.on("GET", "/vms/v-1/backups/b-1", backup("ready"), backup("succeeded"))
    tagged.on("POST", "/vms/v-1/backups/b-1/finalize", DONE)
    remove_tagged(engine, found)
    assert done(tagged) == [
        ("POST", "/imagetransfers/t-1/cancel"),
        ("POST", "/vms/v-1/backups/b-1/finalize"),
    ]


def test_a_tagged_snapshot_that_is_refused_is_told(tagged: Script, engine: Engine) -> None:
    found: Tagged = find_tagged(engine, {LIVING})[1]
    tagged.on("GET", "/vms/v-1/snapshots/s-1", snapshot("ok"))
    tagged.on("DELETE", "/vms/v-1/snapshots/s-1", fault("Cannot remove Snapshot. The VM is migrating.", 400))
    with pytest.raises(Exception, match="migrating"):
        remove_tagged(engine, found)


# -- what does not end, or is not there yet ----------------------------------------------------------------


@pytest.fixture
def patient(script: Script) -> Iterator[Engine]:
    """One that would wait for minutes."""
    with Engine(
        EngineAccess(script.url, "admin@internal", "x"), patience=Patience(first=0.01, most=0.05)
    ) as opened:
        script.requests.clear()
        yield opened


def test_what_never_ends_holds_up_only_whom_it_concerns(
    script: Script, patient: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told at once, tried for seconds (here: tenths), and stays for the next run."""
    monkeypatch.setattr(cleanup, "EACH", 0.3)
    monkeypatch.setattr(cleanup, "SECONDS", 0.9)
    path = dead_run(
        tmp_path,
        ("transfer", "t-1", {"vm": "v-1", "disk": "d-1", "direction": "download", "mark": 4711}),
        ("backup", "b-1", {"vm": "v-1", "description": "x"}),
        ("disk", "d-9", {"id": "d-9", "alias": "copy"}),
    )
    script.on("GET", "/imagetransfers/t-1", transfer("transferring"))
    script.on("POST", "/imagetransfers/t-1/cancel", DONE)
    script.on("GET", "/vms/v-1/backups/b-1", backup("finalizing"))
    script.on("GET", "/vms/v-1/diskattachments", "<disk_attachments/>")
    script.on("GET", "/disks/d-9", "<disk id='d-9'/>", GONE)
    script.on("DELETE", "/disks/d-9", Answer())
    told: list[str] = []
    started = time.monotonic()
    assert heal(patient, tmp_path, told.append, of_vm("v-2")) == ["disk d-9 (alias copy)"]
    assert time.monotonic() - started < 20, "minutes, if it were waited for as usual"
    assert told[0].startswith("ending the download t-1")
    assert [line.split(" of a run")[0] for line in told if line.startswith("could not")] == [
        "could not end the download t-1 (disk d-1, vm v-1)",
        "could not end the backup b-1 (vm v-1)",
    ]
    assert path.exists()
    assert [left.kind for left in leftovers(tmp_path)] == ["transfer", "backup"]
    assert patient.patience == Patience(first=0.01, most=0.05)


@pytest.mark.parametrize("comes", [True, False])
def test_what_was_on_its_way_when_the_run_was_killed_may_come_late(
    script: Script, engine: Engine, tmp_path: Path, comes: bool
) -> None:
    path = dead_run(tmp_path, ("snapshot", None, {"vm": "v-1", "description": "ours"}), at=time.time())
    late = f"<snapshots>{snapshot('ok', 'ours')}</snapshots>"
    script.on("GET", "/vms/v-1/snapshots", "<snapshots/>", "<snapshots/>", *([late] if comes else []))
    script.on("GET", "/vms/v-1/snapshots/s-1", snapshot("ok"), snapshot("ok"), snapshot("ok"), GONE)
    script.on("DELETE", "/vms/v-1/snapshots/s-1", Answer())
    told: list[str] = []
    assert len(heal(engine, tmp_path, told.append)) == comes
    assert path.exists() != comes
    if not comes:
        assert told[-1].startswith("nothing is to be seen yet of the snapshot")
        assert "may still come to be for 1" in told[-1]
        assert heal(engine, tmp_path, in_flight=0.0) == []
        assert not path.exists()


@pytest.mark.parametrize(("at_most", "ended"), [(20.0, True), (None, False)])
def test_a_layer_that_a_crashed_host_left_locked_is_waited_for(
    script: Script, engine: Engine, tmp_path: Path, at_most: float | None, ended: bool
) -> None:
    """For longer than for any lock, by the backup of its VM; or that would take a second snapshot."""
    path = dead_run(tmp_path, ("snapshot", "s-1", {"vm": "v-1", "description": "x"}))
    locked = fault("Cannot remove Snapshot: The following disks are locked: root. Please try again later.")
    free_at = time.monotonic() + 1.0

    def remove(request: Request) -> Answer:
        if time.monotonic() < free_at:
            return locked
        script.on("GET", "/vms/v-1/snapshots/s-1", GONE)
        return Answer()

    script.on("GET", "/vms/v-1/snapshots/s-1", snapshot("ok"))
    script.on("DELETE", "/vms/v-1/snapshots/s-1", remove)
    assert engine.patience.lock < 1.0
    assert (heal(engine, tmp_path, only=of_vm("v-1"), at_most=at_most) != []) == ended
    assert path.exists() != ended
