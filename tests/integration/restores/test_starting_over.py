"""An upload whose ticket is lost: the engine makes no other, so disks of ours are made anew, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from chainbench import Bench
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm
from restored import make

from borg_ovirt.errors import TransferFailed
from borg_ovirt.ovirt.data import lost_ticket
from borg_ovirt.repository.reader import DiskContent


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return make(box, "unlucky")


class DaemonDies:
    """The host's daemon is restarted while the nth content is read, so many times."""

    def __init__(self, box: Box, nth: int, times: int) -> None:
        self.box, self.nth, self.left = box, nth, times
        self.real = DiskContent.fetch

    def __call__(self, content: DiskContent, chunks: Iterable[Any]) -> Iterator[memoryview]:
        for number, view in enumerate(self.real(content, chunks)):
            self.nth -= 1
            if self.left and self.nth <= 0 and number == 0:
                self.left -= 1
                self.box.inject.restart_imageio()
            yield view


@pytest.mark.parametrize(("times", "comes"), [(1, True), (9, False)], ids=["once", "again and again"])
def test_layers_are_uploaded_again_once(
    box: Box, bench: Bench, vm: Vm, monkeypatch: pytest.MonkeyPatch, times: int, comes: bool
) -> None:
    archive = bench.create(vm).archive
    truth = {disk.alias: box.sha(disk) for disk in box.disks(vm)}
    objects = (set(box.world.vms), set(box.world.disks))
    dies = DaemonDies(box, 6, times)
    monkeypatch.setattr(DiskContent, "fetch", lambda content, chunks: dies(content, chunks))
    if comes:
        bench.extract(archive, name="lucky")
        back = box.vm("lucky")
        assert {disk.alias: box.sha(disk) for disk in box.disks(back)} == truth
        assert any("starting over, once" in text for text in bench.told.warnings)
        bench.assert_clean_but(back)
        box.remove_vm(back)
    else:
        with pytest.raises(TransferFailed, match="lost the ticket"):
            bench.extract(archive, name="lucky")
        bench.assert_clean()
    assert (set(box.world.vms), set(box.world.disks)) == objects


def test_over_a_disk_nothing_is_tried_again_and_the_loss_is_told(
    box: Box, bench: Bench, vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = bench.create(vm, mode="image").archive
    victim = box.add_disk(None, DiskSpec(12 * MIB, alias="victim"))

    def cannot(*_: object) -> None:
        raise lost_ticket.UploadLost("The upload of disk victim lost its ticket.")

    dies = DaemonDies(box, 1, 1)
    monkeypatch.setattr(DiskContent, "fetch", lambda content, chunks: dies(content, chunks))
    monkeypatch.setattr("borg_ovirt.ovirt.data.transfer.keep_what_was_written", cannot)
    with pytest.raises(TransferFailed) as told:
        bench.extract(archive, disks=("root",), over=victim.id, yes=True)
    assert "does not hold what it held before" in (told.value.hint or "")
    assert "`--disk root` without --over" in (told.value.hint or "")
    assert not any("starting over" in text for text in bench.told.warnings)
