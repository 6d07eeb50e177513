"""What the engine answers is of the kind that was asked for, and has ids that could be ids."""

from __future__ import annotations

import pytest
from unit.fuzz.targets import ID, Mocked

from borg_ovirt.errors import EngineRefused, EngineUnreachable
from borg_ovirt.ovirt.facts import inventory, vm
from borg_ovirt.ovirt.session.sense import Nonsense, check_kind, check_xml

FITTING = [
    ("api", "GET", ""),
    ("vms", "GET", "/vms"),
    ("vm", "GET", f"/vms/{ID}"),
    ("disk_attachments", "GET", f"/vms/{ID}/diskattachments"),
    ("disk_attachment", "PUT", f"/vms/{ID}/diskattachments/{ID}"),
    ("disks", "GET", f"/vms/{ID}/backups/{ID}/disks"),
    ("image_transfer", "POST", "/imagetransfers"),
    ("action", "POST", f"/imagetransfers/{ID}/finalize"),
    ("action", "POST", f"/vms/{ID}/freezefilesystems"),
]


@pytest.mark.parametrize(("root", "method", "path"), FITTING)
def test_an_answer_of_the_kind_that_was_asked_for(root: str, method: str, path: str) -> None:
    check_kind(root, method, path)
    for other, _, _ in FITTING:
        if other != root:
            with pytest.raises(Nonsense, match=f"it is a {other}"):
                check_kind(other, method, path)


@pytest.mark.parametrize(
    "bad", ["../../etc/x", "a/b", ".", "..", "", "x" * 200, "a b", "%2e", "a?b", "a&#10;b", "a\\b", "\u00e9"]
)
@pytest.mark.parametrize(
    "body",
    [
        '<disks><disk id="{}"><storage_type>image</storage_type></disk></disks>',
        f'<disks><disk id="{ID}"><image_id>{{}}</image_id></disk></disks>',
        f'<disks><disk id="{ID}"><quota id="{{}}"/></disk></disks>',
    ],
    ids=["id", "image_id", "within"],
)
def test_an_id_becomes_a_path_so_it_has_to_be_one(body: str, bad: str) -> None:
    if (not bad and body.count("id=") > 1) or (not bad and "image_id" in body):
        return  # left out
    with pytest.raises(EngineUnreachable, match=r"is no id of|has no id"):
        inventory.image_disks(Mocked(body.format(bad).encode()))


def test_a_part_that_is_left_out_is_named() -> None:
    """In words: which part, instead of how our code stumbled over it."""
    without = f'<vm id="{ID}"><name>web01</name></vm>'.encode()
    with pytest.raises(EngineRefused, match="it tells no cluster of VM web01"):
        vm.find_vm(Mocked(without), ID)


def test_a_fault_of_ours_is_not_laid_at_the_engines_door(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'x'")

    monkeypatch.setattr(vm, "_summary", stumble)
    with pytest.raises(AttributeError):
        vm.look_up(Mocked(f'<vm id="{ID}"><name>web01</name></vm>'.encode()), ID)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<vms><vm id='1'/>", "cut off"),
        (b"<vms><vm id='1'/></vms", "cut off"),
        (b"", "cut off"),
        (b"<vms/><vms/>", "no XML"),
        (b"<!DOCTYPE vms><vms/>", "DTD"),
        (b"<a>" * 1000 + b"</a>" * 1000, "deep"),
    ],
)
def test_no_answer(body: bytes, words: str) -> None:
    with pytest.raises(Nonsense, match=words):
        check_xml(body)
