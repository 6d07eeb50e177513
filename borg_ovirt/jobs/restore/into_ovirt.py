"""Carries out a restore into oVirt. What was made is removed when a later step fails.

A disk that comes as one image is filled before a VM has it. Layers have the engine's order: disks with the
base layers' ids, the VM on them, one snapshot after the other to put the next layers on, only then the bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from borg_ovirt.errors import BorgOvirtError, RestoreFailed
from borg_ovirt.jobs.restore.afterwards import set_again
from borg_ovirt.jobs.restore.contents import Contents
from borg_ovirt.jobs.restore.fill import AT_ONCE, Filling, RestoredDisk
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import DiskPlan, RestorePlan, VmPlan
from borg_ovirt.jobs.restore.site import Target
from borg_ovirt.jobs.restore.undo import Undo
from borg_ovirt.ovirt.data.lost_ticket import UploadLost
from borg_ovirt.ovirt.facts.chain import read_chain
from borg_ovirt.ovirt.facts.ovf import parse, rewrite
from borg_ovirt.ovirt.facts.storage import settle
from borg_ovirt.ovirt.facts.vm import read_vm
from borg_ovirt.ovirt.make.disks import MadeDisk, NewDisk
from borg_ovirt.ovirt.make.machines import (
    MadeVm,
    attach_disk,
    deactivate_disk,
    missing_disks,
    nic_warnings,
    protect_vm,
    start_vm,
)
from borg_ovirt.ovirt.make.made import Made
from borg_ovirt.ovirt.make.rebuild import Above, add_snapshot
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import ATTACH_FAILED, EventMark
from borg_ovirt.ovirt.session.probes import prove_ending, prove_reading, prove_restoring
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.repository.reader import ArchiveReader


def prove_rights(engine: Engine, plan: RestorePlan) -> None:
    """`NotAuthorized` where the user could begin this and not end it."""
    if plan.vm is not None:
        prove_restoring(engine, plan.vm.cluster_id)
    else:
        prove_ending(engine)
    prove_reading(engine, ((disk.disk_id, disk.alias) for disk in plan.disks if disk.exists))


@dataclass
class IntoOvirt:
    """One restore under way: what its steps share."""

    engine: Engine
    journal: Journal
    progress: Progress
    options: RestoreOptions
    plan: RestorePlan
    ovf: bytes | None
    """The VM's configuration; None where no VM is made."""
    lock: threading.Lock | None = None
    """Around the repository, where others read it meanwhile."""
    at_once: int = AT_ONCE
    stop: threading.Event | None = None
    """Set: nothing new is begun, and what is under way is unwound."""
    scratch: bool = False
    """Only to see that it can be done: what was made is removed when it is proven."""
    trial: Callable[[str], None] | None = None
    """Tries a scratch VM of this id before it is removed."""
    for_a_while: list[Made] | None = None
    """Gets what was made: the caller looks at it and removes it, and the journal keeps it until then."""

    def run(self, reader: ArchiveReader, warnings: list[str]) -> list[RestoredDisk]:
        """Do all that the plan says; once more from the start where an upload into disks of ours was lost.

        The engine makes no new ticket for an upload that lost its own (seen on 4.5.8): what was made is
        removed as after any failure, and then made again.
        """
        try:
            return self._attempt(reader, warnings)
        except UploadLost as error:
            lost = [disk for disk in self.plan.disks if disk.exists]
            if lost:
                error.hint = (
                    f"Disk {lost[0].alias} ({lost[0].disk_id}) does not hold what it held before, or is "
                    f"gone: `--disk {lost[0].source.name}` without --over restores it as a new disk."
                )
            if lost or self.options.keep:
                raise
            self.progress.warn(f"{error.message} What was uploaded is lost: starting over, once.")
            return self._attempt(reader, warnings)

    def _attempt(self, reader: ArchiveReader, warnings: list[str]) -> list[RestoredDisk]:
        plan = self.plan
        joined = any(disk.source.joined and not disk.layers for disk in plan.disks)
        # The work directory has room for the layers of one disk.
        at_once = 1 if joined else min(self.at_once, len(plan.disks)) or 1
        lock = self.lock or (threading.Lock() if at_once > 1 else None)
        contents = Contents(reader, self.options.work_dir, self.progress, lock)
        filling = Filling(contents, self.engine, self.options, self.journal, self.progress, self.stop)
        layered = any(disk.layers for disk in plan.disks)
        prove_rights(self.engine, plan)
        with Undo(self.options.keep, self.progress) as undo:
            for disk in plan.disks:
                if not disk.exists:
                    undo.make(MadeDisk(self.engine, self.journal, self._new(disk)))
            if layered and plan.vm is not None:
                self._import(plan.vm, undo)
                self._make_snapshots(plan.vm.id)
                filling.vm_id = plan.vm.id
            done = filling.fill(plan.disks, at_once)
            if not layered and plan.vm is not None:
                self._import(plan.vm, undo)
            if self.scratch:
                if self.trial is not None and plan.vm is not None:
                    self.trial(plan.vm.id)
                undo.remove_all()
                return done
            if self.for_a_while is not None:
                self.for_a_while += undo.hand_over()
            undo.forget()
        if plan.attach is not None:
            warnings += self._attach(plan.attach)
        if plan.vm is not None:
            warnings += self._nic_warnings(plan.vm)
            warnings += self._warn(set_again(self.engine, plan.vm))
            if self.ovf is not None and parse(self.ovf).delete_protected:
                warnings += self._protect(plan.vm)
        if self.options.start and plan.vm is not None:
            start_vm(self.engine, plan.vm.id, plan.vm.name)
        return done

    def _new(self, disk: DiskPlan) -> NewDisk:
        record = disk.source.record
        return NewDisk(
            id=disk.disk_id,
            image_id=disk.image_id,
            alias=disk.alias,
            size=disk.size,
            format=disk.format,
            sparse=disk.sparse,
            storage_domain_id=disk.domain.id,
            description=record.description,
            backup=disk.backup,
            initial_size=disk.initial_size,
            wipe_after_delete=record.wipe_after_delete,
            propagate_errors=record.propagate_errors,
            quota=disk.quota,
            fresh=self.options.fresh,
        )

    def _import(self, vm: VmPlan, undo: Undo) -> None:
        """Make the VM from its OVF on the restored disks, and check that it got every one of them.

        An engine that was restarted a moment ago does not know its storage domains: it imports, and attaches
        nothing. [seen] Then it is done once more.
        """
        disks = {disk.disk_id: disk for disk in self.plan.disks}
        self.progress.step(f"importing VM {vm.name}")
        absence, again = self.engine.patience.absence, True
        while True:
            for center in {disk.domain.data_center_id for disk in self.plan.disks}:
                settle(self.engine, center, {disk.domain.id for disk in self.plan.disks})
            mark, away = EventMark(self.engine), absence.seconds
            made = self._vm(vm)
            undo.make(made)
            missing = missing_disks(self.engine, vm.id, disks)
            if not missing:
                break
            if not again or absence.seconds <= away:
                names = ", ".join(disks[disk_id].alias for disk_id in missing)
                told = "; ".join(mark.texts(ATTACH_FAILED)) or "the engine's events tell nothing"
                raise RestoreFailed(f"VM {vm.name} was imported without the disks {names}: {told}.")
            again = False
            self.progress.step(f"the engine was away meanwhile: importing VM {vm.name} once more")
            undo.take_back(made)
        for disk in self.plan.disks:
            if not disk.source.record.active:
                deactivate_disk(self.engine, vm.id, disk.disk_id)

    def _vm(self, vm: VmPlan) -> MadeVm:
        return MadeVm(
            self.engine,
            self.journal,
            self._text(vm),
            vm_id=vm.id,
            name=vm.name,
            cluster_id=vm.cluster_id,
            fresh=bool(vm.ids),
            scratch=self.scratch,
        )

    def _text(self, vm: VmPlan) -> bytes:
        """The OVF that is imported."""
        return rewrite(
            self.ovf or b"",
            ids=vm.ids,
            name=vm.name,
            fresh=bool(vm.ids),
            nics={nic.archived.id: nic.change for nic in vm.nics},
            keep_disks=[disk.disk_id for disk in self.plan.disks],
            without_nics=self.options.without_nics,
        )

    def _make_snapshots(self, vm_id: str) -> None:
        for step in self.plan.snapshots:
            self.progress.step(f"making snapshot {step.description}")
            layers = {disk: Above(above.image_id, above.initial_size) for disk, above in step.layers.items()}
            add_snapshot(self.engine, vm_id, step.description, layers)
        # The engine must have stacked the layers as planned, or bytes would go to the wrong ones.
        vm = read_vm(self.engine, vm_id)
        by_id = {disk.id: disk for disk in vm.disks}
        for disk in self.plan.disks:
            made = [layer.image_id for layer in read_chain(self.engine, by_id[disk.disk_id], vm).layers]
            planned = [layer.image_id for layer in disk.layers]
            if made[: len(planned)] != planned:
                raise RestoreFailed(
                    f"The engine made layers {', '.join(made)} of disk {disk.alias}, "
                    f"not {', '.join(planned)}."
                )

    def _attach(self, target: Target) -> list[str]:
        """Give the disks to a VM that is there. They are restored whether or not it takes them."""
        trouble = []
        for disk in self.plan.disks:
            record = disk.source.record
            how = {name: getattr(record, name) for name in ("active", "read_only", "pass_discard")}
            try:
                attach_disk(
                    self.engine,
                    target.id,
                    disk.disk_id,
                    {**how, "interface": record.interface or "virtio_scsi"},
                )
            except BorgOvirtError as error:
                what = f"disk {disk.alias} ({disk.disk_id}) is restored, but not attached to VM {target.name}"
                trouble.append(f"{what}: {error.message}")
        return self._warn(trouble)

    def _nic_warnings(self, vm: VmPlan) -> list[str]:
        """What the engine made of the network cards; no reason to undo what is restored."""
        try:
            found = nic_warnings(self.engine, vm.id, parse(self._text(vm)).nics)
        except BorgOvirtError as error:
            found = [f"its network cards could not be looked at: {error.message}"]
        return self._warn([f"VM {vm.name} is restored, but {text}" for text in found])

    def _protect(self, vm: VmPlan) -> list[str]:
        """The last step: until then what was made can be removed."""
        try:
            protect_vm(self.engine, vm.id, vm.name)
        except BorgOvirtError as error:
            return self._warn([f"VM {vm.name} is restored, but not protected from deletion: {error.message}"])
        return []

    def _warn(self, warnings: list[str]) -> list[str]:
        for warning in warnings:
            self.progress.warn(warning)
        return warnings
