"""Disks and VMs that a restore makes: written down first, found after a lost answer, ours alone removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from unit.ovirt.script import HANG_UP, Answer, Request, Script, fault

from borg_ovirt.errors import BorgOvirtError, EngineRefused
from borg_ovirt.ovirt.make.disks import MadeDisk, NewDisk, remove_disk
from borg_ovirt.ovirt.make.machines import (
    MadeVm,
    deactivate_disk,
    missing_disks,
    protect_vm,
    remove_vm,
    start_vm,
)
from borg_ovirt.ovirt.make.rebuild import Above, add_snapshot
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import Unclear
from borg_ovirt.ovirt.tracked.journal import Journal

DISKS, DISK = "/disks", "/disks/disk-1"
VMS, VM = "/vms", "/vms/vm-1"
GONE = Answer(404, "<fault/>")
DONE = Answer(body="<action><status>complete</status></action>")
NEW = NewDisk("disk-1", "image-1", "root", 4096, "cow", True, "domain-1", backup="incremental")


def disk(status: str = "ok") -> str:
    return f"<disk id='disk-1'><alias>root</alias><status>{status}</status></disk>"


def vm(status: str = "down") -> str:
    return f"<vm id='vm-1'><name>web01</name><status>{status}</status></vm>"


def entries(journal: Journal) -> list[tuple[str, str | None]]:
    return [(entry.kind, entry.id) for entry in journal.unfinished]


def made_disk(engine: Engine, journal: Journal, *, fresh: bool = True) -> MadeDisk:
    return MadeDisk(engine, journal, replace(NEW, fresh=fresh))


def made_vm(engine: Engine, journal: Journal, *, fresh: bool = True) -> MadeVm:
    return MadeVm(engine, journal, b"<ovf/>", vm_id="vm-1", name="web01", cluster_id="c-1", fresh=fresh)


def noting(journal: Journal, notes: list[str], answer: Answer) -> Callable[[Request], Answer]:
    def reply(request: Request) -> Answer:
        notes.append(journal.path.read_text())
        return answer

    return reply


def test_a_disk_is_made_as_asked_and_written_down_before(
    script: Script, engine: Engine, journal: Journal
) -> None:
    notes: list[str] = []
    script.on("POST", DISKS, noting(journal, notes, Answer(202, disk("locked"))))
    script.on("GET", DISK, disk("locked"), disk())
    one = made_disk(engine, journal)
    one.make()
    assert '"kind":"disk"' in notes[0]
    assert '"id":"disk-1"' in notes[0]
    body = script.asked("POST", DISKS)[0].body.decode()
    for words in (
        "<provisioned_size>4096<",
        "<format>cow<",
        "<sparse>true<",
        "<backup>incremental<",
        "<image_id>image-1<",
        "domain-1",
    ):
        assert words in body
    assert entries(journal) == [("disk", "disk-1")]
    one.keep()
    assert entries(journal) == []
    assert not one.remove() or script.asked("DELETE") == []


@pytest.mark.parametrize(("status", "words"), [("illegal", "became illegal"), (None, "vanished")])
def test_a_disk_that_comes_to_nothing(
    script: Script, engine: Engine, journal: Journal, status: str | None, words: str
) -> None:
    script.on("POST", DISKS, Answer(202, disk("locked")))
    script.on("GET", DISK, disk("locked"), disk(status) if status else GONE)
    script.on("DELETE", DISK, GONE)
    one = made_disk(engine, journal)
    with pytest.raises(EngineRefused, match=words):
        one.make()
    one.remove()
    assert entries(journal) == []


def test_a_disk_whose_answer_was_lost_is_looked_for(script: Script, engine: Engine, journal: Journal) -> None:
    script.on("POST", DISKS, Answer(502, "bad gateway", "text/html"))
    script.on("GET", DISK, GONE, disk("locked"), disk())
    made_disk(engine, journal).make()
    assert len(script.asked("POST", DISKS)) == 1, "to ask again would only be told that the id is taken"
    assert entries(journal) == [("disk", "disk-1")]


def test_what_was_never_found_stays_in_the_journal(script: Script, engine: Engine, journal: Journal) -> None:
    script.on("POST", DISKS, Answer(502, "bad gateway", "text/html"))
    script.on("GET", DISK, GONE)
    one = made_disk(engine, journal)
    with pytest.raises(Unclear):
        one.make()
    assert not one.remove(), "it may come to be yet"
    assert [kind for kind, _ in entries(journal)] == ["disk"]


@pytest.mark.parametrize("fresh", [True, False])
def test_after_a_refusal_only_a_fresh_id_is_ours(
    script: Script, engine: Engine, journal: Journal, fresh: bool
) -> None:
    """libcurl repeats a POST: the second is refused because of the first. An archived id may be anybody's."""
    script.on("POST", DISKS, fault("Cannot add Disk. Disk already exists."))
    script.on("GET", DISK, disk())
    script.on("DELETE", DISK, Answer())
    one = made_disk(engine, journal, fresh=fresh)
    if fresh:
        one.make()
        assert entries(journal) == [("disk", "disk-1")]
    else:
        with pytest.raises(EngineRefused, match="is there already"):
            one.make()
        assert one.remove()
        assert script.asked("DELETE") == []
        assert entries(journal) == []


def test_an_archived_id_that_was_given_away_meanwhile_is_not_taken_for_ours(
    script: Script, engine: Engine, journal: Journal
) -> None:
    """It was free when it was looked at; then somebody else's restore was quicker."""
    script.on("POST", DISKS, fault("Cannot add Disk. Disk already exists."))
    script.on("GET", DISK, GONE, GONE, disk())
    one = made_disk(engine, journal, fresh=False)
    with pytest.raises(EngineRefused, match="Cannot add Disk"):
        one.make()
    assert len(script.asked("POST", DISKS)) == 1
    assert entries(journal) == []
    one.remove()
    assert script.asked("DELETE") == [], "the other restore's disk stays"


def test_a_refusal_without_rights_made_nothing(script: Script, engine: Engine, journal: Journal) -> None:
    script.on("POST", DISKS, Answer(403, "<fault/>"))
    with pytest.raises(BorgOvirtError):
        made_disk(engine, journal).make()
    assert entries(journal) == []


def test_a_disk_is_gone_when_the_engine_has_forgotten_it(script: Script, engine: Engine) -> None:
    script.on("DELETE", DISK, fault("Cannot remove: Disk is locked."), Answer())
    script.on("GET", DISK, disk("locked"), disk("locked"), GONE)
    remove_disk(engine, "disk-1")
    assert len(script.asked("DELETE")) == 2
    assert len(script.asked("GET", DISK)) == 4, "not found is believed of an engine that is well"
    script.on("DELETE", DISK, GONE)
    remove_disk(engine, "disk-1")


def test_a_vm_is_imported_and_waited_for(script: Script, engine: Engine, journal: Journal) -> None:
    notes: list[str] = []
    script.on("POST", VMS, noting(journal, notes, Answer(201, vm("image_locked"))))
    script.on("GET", VM, vm("image_locked"), vm("image_locked"), vm("down"))
    one = made_vm(engine, journal)
    one.make()
    assert '"kind":"vm"' in notes[0]
    assert len(script.asked("GET", VM)) == 3
    assert entries(journal) == [("vm", "vm-1")]
    assert b"&lt;ovf/&gt;" in script.asked("POST", VMS)[0].body


def test_an_import_whose_answer_was_lost_goes_on(script: Script, engine: Engine, journal: Journal) -> None:
    script.on("POST", VMS, HANG_UP)
    script.on("GET", VM, GONE, vm("image_locked"), vm("down"))
    made_vm(engine, journal).make()
    assert entries(journal) == [("vm", "vm-1")]


def test_a_vm_is_removed_with_or_without_its_disks(script: Script, engine: Engine) -> None:
    script.on("DELETE", VM, Answer())
    script.on("GET", VM, vm(), GONE)
    remove_vm(engine, "vm-1", keep_disks=True)
    script.on("GET", VM, vm(), GONE)
    remove_vm(engine, "vm-1")
    first, second = script.asked("DELETE")
    assert first.query.get("detach_only") == "true"
    assert second.query.get("detach_only") != "true"
    script.on("DELETE", VM, GONE)
    remove_vm(engine, "vm-1")


def test_disks_that_did_not_attach_are_named(script: Script, engine: Engine) -> None:
    script.on(
        "GET",
        f"{VM}/diskattachments",
        "<disk_attachments><disk_attachment id='disk-1'><disk id='disk-1'/></disk_attachment>"
        "</disk_attachments>",
    )
    assert missing_disks(engine, "vm-1", ["disk-0", "disk-1", "disk-2"]) == ["disk-0", "disk-2"]


def test_a_vm_that_does_not_start_is_told(script: Script, engine: Engine) -> None:
    script.on("POST", f"{VM}/start", DONE)
    script.on("GET", VM, vm("wait_for_launch"), vm("powering_up"))
    start_vm(engine, "vm-1", "web01")
    script.on("GET", VM, vm("wait_for_launch"), vm("down"))
    with pytest.raises(EngineRefused, match="did not start"):
        start_vm(engine, "vm-1", "web01")


def test_protected_and_unplugged(script: Script, engine: Engine) -> None:
    script.on("PUT", VM, vm())
    script.on("PUT", f"{VM}/diskattachments/disk-1", "<disk_attachment id='disk-1'/>")
    protect_vm(engine, "vm-1", "web01")
    deactivate_disk(engine, "vm-1", "disk-1")
    first, second = script.asked("PUT")
    assert b"<delete_protected>true<" in first.body
    assert b"<active>false<" in second.body


def test_a_snapshot_puts_chosen_layers_on_its_disks(script: Script, engine: Engine) -> None:
    snapshot = "<snapshot id='s-1'><snapshot_status>{}</snapshot_status></snapshot>"
    script.on("POST", f"{VM}/snapshots", Answer(202, snapshot.format("locked")))
    script.on("GET", f"{VM}/snapshots", "<snapshots/>")
    script.on("GET", f"{VM}/snapshots/s-1", snapshot.format("locked"), snapshot.format("ok"))
    assert add_snapshot(engine, "vm-1", "before", {"disk-1": Above("image-2", 65536)}) == "s-1"
    body = script.asked("POST")[0].body.decode()
    assert "<image_id>image-2<" in body
    assert "<initial_size>65536<" in body
    assert "<persist_memorystate>false<" in body
    script.on("GET", f"{VM}/snapshots/s-1", snapshot.format("locked"), GONE)
    with pytest.raises(BorgOvirtError, match="could not make the snapshot before"):
        add_snapshot(engine, "vm-1", "before", {})


def test_a_snapshot_whose_answer_was_lost_is_not_one_of_the_same_name(script: Script, engine: Engine) -> None:
    """Several restored snapshots may be called alike."""
    snapshot = (
        "<snapshot id='{}'><description>before</description><snapshot_status>ok</snapshot_status></snapshot>"
    )
    older, ours = snapshot.format("s-1"), snapshot.format("s-2")
    script.on("POST", f"{VM}/snapshots", HANG_UP)
    script.on(
        "GET",
        f"{VM}/snapshots",
        f"<snapshots>{older}</snapshots>",
        f"<snapshots>{older}</snapshots>",
        f"<snapshots>{older}{ours}</snapshots>",
    )
    script.on("GET", f"{VM}/snapshots/s-2", ours)
    assert add_snapshot(engine, "vm-1", "before", {}) == "s-2"
    assert len(script.asked("POST")) == 1
