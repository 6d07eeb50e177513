"""The ways to an instant: a guest is never left frozen, and what the engine says is not guessed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from unit.ovirt.script import HANG_UP, Answer, Reply, Request, Script, fault

from borg_ovirt.errors import (
    BackupFailed,
    CheckpointLost,
    EngineRefused,
    NotAuthorized,
    VmNotSuitable,
)
from borg_ovirt.ovirt.capture.backups import finalize_backup
from borg_ovirt.ovirt.capture.methods import BackupMethod, check_suitable
from borg_ovirt.ovirt.capture.snapshot_method import SnapshotMethod
from borg_ovirt.ovirt.facts.model import DiskFacts, SnapshotFacts, VmFacts
from borg_ovirt.ovirt.facts.vm import utc
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal

VM = VmFacts("vm-1", "web01", "up", "c-1", "Default", (4, 6))
DISK = DiskFacts("disk-1", "root", 1 << 20, "cow", True, "image")
OK = Answer(body="<action><status>complete</status></action>")
FREEZE, THAW = "/vms/vm-1/freezefilesystems", "/vms/vm-1/thawfilesystems"
SNAPSHOT = "<snapshot id='s-1'><snapshot_status>{}</snapshot_status><description>x</description></snapshot>"
BACKUP = "<backup id='b-1'><phase>{}</phase><to_checkpoint_id>cp-2</to_checkpoint_id></backup>"
NO_EVENTS = "<events/>"


def event(code: int, vm_id: str = "vm-1", index: int = 8) -> str:
    return (
        f"<event id='{index}'><code>{code}</code><index>{index}</index>"
        f"<description>told by the engine</description><vm id='{vm_id}'/></event>"
    )


def events(script: Script, *after: str) -> None:
    """The newest event when it is asked first, then what came after it."""
    newest = "<events><event id='7'><code>1</code><index>7</index></event></events>"
    script.on("GET", "/events", newest, f"<events>{''.join(after)}</events>")


@pytest.fixture
def frozen(script: Script) -> Script:
    """An engine that freezes, takes a snapshot and thaws."""
    events(script)
    script.on("POST", FREEZE, OK)
    script.on("POST", THAW, OK)
    script.on("POST", "/vms/vm-1/snapshots", Answer(202, SNAPSHOT.format("locked")))
    script.on("GET", "/vms/vm-1/snapshots/s-1", SNAPSHOT.format("locked"), SNAPSHOT.format("ok"))
    script.on(
        "GET",
        "/vms/vm-1/snapshots/s-1/disks",
        "<disks><disk id='disk-1'><image_id>i-1</image_id></disk></disks>",
    )
    return script


def method(engine: Engine, journal: Journal, freeze: str = "require") -> SnapshotMethod:
    return SnapshotMethod(engine, journal, VM, [DISK], description="x", freeze=freeze, log=lambda text: None)


def posts(script: Script) -> list[str]:
    return [request.path.rsplit("/", 1)[-1] for request in script.asked("POST")]


def kinds(journal: Journal) -> list[str]:
    return [entry.kind for entry in journal.unfinished]


def test_frozen_only_while_the_snapshot_is_taken(frozen: Script, engine: Engine, journal: Journal) -> None:
    """The journal knows of the freeze before the engine is asked: whoever finds it dead will thaw."""
    noted: list[list[str]] = []

    def freezing(request: Request) -> Answer:
        noted.append([line for line in journal.path.read_text().splitlines() if '"freeze"' in line])
        return OK

    frozen.on("POST", FREEZE, freezing)
    taken = method(engine, journal)
    taken.start()
    assert posts(frozen) == ["freezefilesystems", "snapshots", "thawfilesystems"]
    assert [len(lines) for lines in noted] == [1]
    assert '"vm":"vm-1"' in noted[0][0]
    assert kinds(journal) == ["snapshot"]
    assert taken.consistency == "frozen"
    assert taken.request(DISK).image_id == "i-1"
    assert (
        b"<persist_memorystate>false</persist_memorystate>"
        in frozen.asked("POST", "/vms/vm-1/snapshots")[0].body
    )
    looks = [request.path for request in frozen.asked("GET") if request.path.endswith("/snapshots/s-1")]
    assert len(looks) == 2, "at first it was locked"


@pytest.mark.parametrize(
    "answers",
    [
        [fault("Cannot create Snapshot. Disk is illegal.")],
        [Answer(202, SNAPSHOT.format("locked")), Answer(404, "<fault/>")],
    ],
)
def test_thawed_though_the_snapshot_fails(
    frozen: Script, engine: Engine, journal: Journal, answers: Sequence[Answer]
) -> None:
    frozen.on("POST", "/vms/vm-1/snapshots", answers[0])
    frozen.on("GET", "/vms/vm-1/snapshots", "<snapshots/>")
    frozen.on("GET", "/vms/vm-1/snapshots/s-1", *answers[1:] or [Answer(404, "<fault/>")])
    frozen.on("DELETE", "/vms/vm-1/snapshots/s-1", Answer(404, "<fault/>"))
    with pytest.raises((EngineRefused, BackupFailed)):
        method(engine, journal).start()
    assert posts(frozen)[-1] == "thawfilesystems"
    assert kinds(journal) == []


def test_a_guest_that_will_not_freeze_is_thawed_and_not_captured(
    frozen: Script, engine: Engine, journal: Journal
) -> None:
    frozen.on("POST", FREEZE, fault("no agent"))
    with pytest.raises(BackupFailed, match="could not be frozen"):
        method(engine, journal).start()
    assert posts(frozen) == ["freezefilesystems", "thawfilesystems"]
    assert kinds(journal) == []


def test_without_the_right_to_freeze_nothing_was_frozen(
    frozen: Script, engine: Engine, journal: Journal
) -> None:
    frozen.on("POST", FREEZE, Answer(403, "<fault/>"))
    with pytest.raises(NotAuthorized):
        method(engine, journal).start()
    assert posts(frozen) == ["freezefilesystems"]
    assert kinds(journal) == []


def test_a_thaw_that_gets_no_answer_stays_in_the_journal(
    frozen: Script, engine: Engine, journal: Journal
) -> None:
    """It is told, tried again when the snapshot goes, and then left to whoever cleans up."""
    frozen.on("POST", THAW, Answer(503, "restarting", "text/html"))
    taken = method(engine, journal)
    taken.start()
    assert kinds(journal) == ["freeze", "snapshot"]
    frozen.on("GET", "/vms/vm-1/snapshots/s-1", Answer(200, SNAPSHOT.format("ok")), Answer(404, "<fault/>"))
    frozen.on("DELETE", "/vms/vm-1/snapshots/s-1", Answer())
    asked = len(frozen.asked("POST", THAW))
    taken.end()
    assert len(frozen.asked("POST", THAW)) > asked
    assert "MAY STILL BE FROZEN" in taken.wait_ended()[0]
    assert kinds(journal) == ["freeze"]


def test_a_guest_whose_freeze_got_no_answer_is_frozen_anew(
    frozen: Script, engine: Engine, journal: Journal
) -> None:
    """A frozen guest refuses to be frozen again, so it is thawed first."""
    frozen.on("POST", FREEZE, HANG_UP, OK)
    method(engine, journal).start()
    assert posts(frozen) == [
        "freezefilesystems",
        "thawfilesystems",
        "freezefilesystems",
        "snapshots",
        "thawfilesystems",
    ]


def test_a_vm_that_is_down_is_not_frozen(frozen: Script, engine: Engine, journal: Journal) -> None:
    down = VmFacts("vm-1", "web01", "down", "c-1", "Default", (4, 6))
    taken = SnapshotMethod(
        engine, journal, down, [DISK], description="x", freeze="require", log=lambda text: None
    )
    taken.start()
    assert posts(frozen) == ["snapshots"]
    assert taken.consistency == "frozen"


@pytest.mark.parametrize(
    ("told", "consistency"),
    [
        ([], "unknown"),
        ([event(10767)], "frozen"),
        ([event(10764)], "not frozen"),
        ([event(10767), event(10774, index=9)], "not frozen"),
        ([event(10767, vm_id="vm-2")], "unknown"),
        ([event(10767, index=7)], "unknown"),
    ],
)
def test_what_the_events_tell_of_a_freeze(
    frozen: Script, engine: Engine, journal: Journal, told: list[str], consistency: str
) -> None:
    events(frozen, *told)
    taken = method(engine, journal, "auto")
    taken.start()
    assert taken.consistency == consistency


def test_a_disk_that_the_snapshot_lacks_is_told(frozen: Script, engine: Engine, journal: Journal) -> None:
    taken = method(engine, journal, "never")
    taken.start()
    with pytest.raises(BackupFailed, match="no layer of disk data"):
        taken.request(DiskFacts("disk-2", "data", 1, "cow", True, "image"))


# -- the engine's backup -----------------------------------------------------------------------------


def nothing_in_the_way(script: Script) -> None:
    """What is looked at when a backup fails: no lock, and the checkpoint is there."""
    script.on("GET", "/vms/vm-1/snapshots", "<snapshots/>")
    script.on("GET", "/vms/vm-1/diskattachments", "<disk_attachments/>")
    script.on("GET", "/storagedomains", "<storage_domains/>")
    script.on("GET", "/datacenters", "<data_centers/>")
    script.on("GET", "/vms/vm-1/checkpoints", "<checkpoints><checkpoint id='cp-1'/></checkpoints>")


@pytest.fixture
def backing_up(script: Script) -> Script:
    """An engine whose backup becomes ready."""
    events(script)
    nothing_in_the_way(script)
    script.on("POST", "/vms/vm-1/backups", Answer(201, BACKUP.format("starting")))
    script.on("GET", "/vms/vm-1/backups", "<backups/>")
    script.on("GET", "/vms/vm-1/backups/b-1", BACKUP.format("starting"), BACKUP.format("ready"))
    script.on(
        "GET",
        "/vms/vm-1/backups/b-1/disks",
        "<disks><disk id='disk-1'><backup_mode>incremental</backup_mode></disk>"
        "<disk id='disk-2'><backup_mode>full</backup_mode></disk></disks>",
    )
    script.on("POST", "/vms/vm-1/backups/b-1/finalize", OK)
    script.on("GET", "/disks", "<disks/>")
    return script


def backup(engine: Engine, journal: Journal, vm: VmFacts = VM, **facts: object) -> BackupMethod:
    settings = {"from_checkpoint": None, "freeze": "auto", "legacy": False, **facts}
    return BackupMethod(
        engine,
        journal,
        vm,
        [DISK],
        description="x",
        log=lambda text: None,
        **settings,  # type: ignore[arg-type]
    )


def test_each_disk_is_as_incremental_as_the_engine_says(
    backing_up: Script, engine: Engine, journal: Journal
) -> None:
    made = backup(engine, journal, from_checkpoint="cp-1")
    made.start()
    assert made.mode(DISK) == (True, None)
    assert made.mode(DiskFacts("disk-2", "a", 1, "raw", True, "image"))[0] is False
    assert "no record" in str(made.mode(DiskFacts("disk-2", "a", 1, "raw", True, "image"))[1])
    assert "not part" in str(made.mode(DiskFacts("disk-3", "a", 1, "cow", True, "image"))[1])
    assert (made.name, made.consistency) == ("live backup", "unknown")
    assert made.request(DISK).backup_id == "b-1"


@pytest.mark.parametrize(
    ("freeze", "agent", "demanded"),
    [("require", False, True), ("auto", True, True), ("auto", False, False), ("never", True, False)],
)
def test_when_freezing_is_demanded(
    backing_up: Script, engine: Engine, journal: Journal, freeze: str, agent: bool, demanded: bool
) -> None:
    vm = VmFacts("vm-1", "web01", "up", "c-1", "Default", (4, 6), guest_agent=agent)
    made = backup(engine, journal, vm, freeze=freeze)
    made.start()
    (asked,) = backing_up.asked("POST", "/vms/vm-1/backups")
    assert ("require_consistency" in asked.query) == demanded
    assert made.consistency == ("frozen" if demanded else "unknown")


@pytest.mark.parametrize(("freeze", "fails"), [("require", True), ("auto", False)])
def test_a_guest_that_cannot_freeze(
    backing_up: Script, engine: Engine, journal: Journal, freeze: str, fails: bool
) -> None:
    vm = VmFacts("vm-1", "web01", "up", "c-1", "Default", (4, 6), guest_agent=True)
    backing_up.on("GET", "/vms/vm-1/backups/b-1", *[BACKUP.format("failed")] * 3, BACKUP.format("ready"))
    made = backup(engine, journal, vm, freeze=freeze)
    if fails:
        with pytest.raises(BackupFailed, match="with frozen file systems"):
            made.start()
        assert kinds(journal) == []
    else:
        made.start()
        assert made.consistency == "not frozen"
        first, second = backing_up.asked("POST", "/vms/vm-1/backups")
        assert "require_consistency" in first.query
        assert "require_consistency" not in second.query


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (fault("Cannot backup VM. The checkpoint doesn't exist."), "doesn't exist"),
        (fault("Cannot backup VM. Checkpoint cp-1 is invalid.", 400), "is invalid"),
    ],
)
def test_a_refused_checkpoint_is_told_as_lost(
    backing_up: Script, engine: Engine, journal: Journal, refusal: Reply, reason: str
) -> None:
    backing_up.on("POST", "/vms/vm-1/backups", refusal)
    with pytest.raises(CheckpointLost, match=reason):
        backup(engine, journal, from_checkpoint="cp-1").start()
    assert kinds(journal) == []


@pytest.mark.parametrize(
    ("checkpoints", "blamed"),
    [
        ("<checkpoint id='cp-1'/>", False),
        ("<checkpoint id='cp-1'><state>invalid</state></checkpoint>", True),
        ("", True),
    ],
)
def test_a_refusal_without_words_is_laid_to_the_checkpoint_only_if_it_is_gone(
    backing_up: Script,
    engine: Engine,
    journal: Journal,
    checkpoints: str,
    blamed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "patience", replace(engine.patience, lock=30))
    backing_up.on("POST", "/vms/vm-1/backups", Answer(400, "<fault><reason>x</reason></fault>"))
    backing_up.on("GET", "/vms/vm-1/checkpoints", f"<checkpoints>{checkpoints}</checkpoints>")
    error, words = (CheckpointLost, "no longer has") if blamed else (BackupFailed, "gives no reason")
    with pytest.raises(error, match=words):
        backup(engine, journal, from_checkpoint="cp-1").start()
    assert (len(backing_up.asked("POST", "/vms/vm-1/backups")) == 1) == blamed


@pytest.mark.parametrize("since", ["cp-1", None])
def test_another_refusal_is_told_as_it_is(
    backing_up: Script, engine: Engine, journal: Journal, since: str | None
) -> None:
    backing_up.on("POST", "/vms/vm-1/backups", fault("Cannot backup VM. The quota is exceeded."))
    with pytest.raises(EngineRefused, match="quota is exceeded"):
        backup(engine, journal, from_checkpoint=since).start()


def test_a_backup_that_fails_before_it_is_read_is_no_instant(
    backing_up: Script, engine: Engine, journal: Journal
) -> None:
    backing_up.on("GET", "/vms/vm-1/backups/b-1", BACKUP.format("failed"))
    with pytest.raises(BackupFailed, match="failed before it could be read"):
        backup(engine, journal).start()
    with pytest.raises(CheckpointLost, match="start from checkpoint cp-1"):
        backup(engine, journal, from_checkpoint="cp-1").start()


def test_a_backup_that_fails_at_its_end_was_read_all_the_same(
    backing_up: Script, engine: Engine, journal: Journal
) -> None:
    made = backup(engine, journal)
    made.start()
    backing_up.on("GET", "/vms/vm-1/backups/b-1", BACKUP.format("finalizing"), BACKUP.format("failed"))
    made.end()
    assert made.backup is not None
    assert (kinds(journal), made.backup.failed) == (["backup"], False), "nobody waits for it"
    assert "failed after it was read" in made.wait_ended()[0]
    assert made.backup.failed, "its checkpoint is not to be trusted"
    assert kinds(journal) == []


def test_scratch_disks_that_may_not_be_removed_are_told_and_stay_in_the_journal(
    backing_up: Script, engine: Engine, journal: Journal
) -> None:
    backup_id = "b0000000-0000-4000-8000-000000000001"
    mine, other = (
        f"<disk id='{name}'><alias>VM web01 backup {of} scratch disk for root</alias>"
        "<content_type>backup_scratch</content_type></disk>"
        for name, of in (("s-1", backup_id), ("s-2", backup_id.replace("b0", "c0")))
    )
    text = BACKUP.replace("b-1", backup_id)
    path = f"/vms/vm-1/backups/{backup_id}"
    backing_up.on("POST", "/vms/vm-1/backups", Answer(201, text.format("starting")))
    backing_up.on("GET", path, text.format("ready"))
    backing_up.on("GET", f"{path}/disks", "<disks/>")
    backing_up.on("POST", f"{path}/finalize", OK)
    made = backup(engine, journal)
    made.start()
    backing_up.on("GET", path, text.format("failed"))
    backing_up.on("GET", "/disks", f"<disks>{mine}{other}</disks>")
    backing_up.on("DELETE", "/disks/s-1", Answer(403, "<fault/>"))
    made.end()
    (told,) = made.wait_ended()
    assert "scratch disk s-1 of a live backup of VM web01 is still there" in told
    assert "Storage, Disks" in told
    assert [r.path for r in backing_up.asked("DELETE")] == ["/disks/s-1"]
    assert kinds(journal) == ["backup"]


def test_finalizing_waits_for_transfers_and_is_sure_of_the_end(
    backing_up: Script, engine: Engine, journal: Journal
) -> None:
    made = backup(engine, journal)
    made.start()
    backing_up.on("POST", "/vms/vm-1/backups/b-1/finalize", fault("Transfers are still in progress"), OK)
    backing_up.on("GET", "/vms/vm-1/backups/b-1", BACKUP.format("finalizing"), BACKUP.format("succeeded"))
    made.end()
    assert len(backing_up.asked("POST", "/vms/vm-1/backups/b-1/finalize")) == 2
    assert made.wait_ended() == []
    assert kinds(journal) == []


def test_a_starting_backup_is_waited_for_before_it_is_ended(
    backing_up: Script, engine: Engine, journal: Journal
) -> None:
    """A backup that is stopped while it starts leaves its scratch disks behind."""
    states = ["ready", "starting", "initializing", "ready", "finalizing", "succeeded"]
    backing_up.on("GET", "/vms/vm-1/backups/b-1", *map(BACKUP.format, states))
    made = backup(engine, journal)
    made.start()
    made.abort()
    looks = [r.method for r in backing_up.requests if r.path.startswith("/vms/vm-1/backups/b-1")]
    assert looks.index("POST") == 5  # ready, disks, starting, initializing, ready
    assert kinds(journal) == []


# -- which VMs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["paused", "migrating", "suspended", "image_locked", "unknown"])
def test_only_what_is_up_or_down(status: str) -> None:
    with pytest.raises(VmNotSuitable, match=status.replace("_", " ")):
        check_suitable(VmFacts("vm-1", "web01", status, "c-1", "Default", (4, 6)))
    for good in ("up", "down"):
        check_suitable(VmFacts("vm-1", "web01", good, "c-1", "Default", (4, 6)))


def test_neither_a_preview_nor_the_hosted_engine() -> None:
    preview = SnapshotFacts("s", "", utc(None), "preview", "in_preview")
    with pytest.raises(VmNotSuitable, match="previewing"):
        check_suitable(VmFacts("v", "w", "down", "c", "D", (4, 6), snapshots=(preview,)))
    with pytest.raises(VmNotSuitable, match="Hosted Engine"):
        check_suitable(VmFacts("v", "w", "up", "c", "D", (4, 6), origin="managed_hosted_engine"))


@pytest.mark.parametrize("words", ["is already stopped", "is already in 'finalizing' phase"])
def test_an_end_whose_answer_was_lost_is_no_failure(script: Script, engine: Engine, words: str) -> None:
    """The second asking is refused, in two ways [seen]: the backup is good all the same."""
    refusal = fault(f"vm 'vm-1' backup 'b-1' {words}, no need to stop the backup again", 400)
    script.on("POST", "/vms/vm-1/backups/b-1/finalize", HANG_UP, refusal)
    finalize_backup(engine, "vm-1", "b-1")
    assert len(script.asked("POST", "/vms/vm-1/backups/b-1/finalize")) == 2
