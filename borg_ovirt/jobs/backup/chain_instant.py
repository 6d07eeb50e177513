"""The instant of a chain backup: a temporary snapshot, or what is frozen anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from borg_ovirt.errors import BackupFailed, BorgOvirtError
from borg_ovirt.ovirt.capture.methods import SnapshotMethod, check_suitable
from borg_ovirt.ovirt.facts.chain import Chain
from borg_ovirt.ovirt.facts.storage import refuse_inactive
from borg_ovirt.ovirt.facts.vm import DiskFacts, SnapshotFacts, VmFacts, read_snapshots, vm_status
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.probes import prove_reading
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress


@dataclass
class Instant:
    """What is frozen, how, and how it is let go of."""

    method: str
    reason: str
    consistency: str
    time: datetime
    vm_down: bool
    snapshots: Sequence[SnapshotFacts]
    """The VM's, the temporary one among them."""
    frozen: dict[str, str] = field(default_factory=dict)
    """Disk id -> image id of the layer under the temporary snapshot."""
    let_go: Callable[[], None] = lambda: None
    """Every layer was read: ask for the merge. Does not wait."""
    wait_gone: Callable[[], list[str]] = list
    """Wait for the merge; warnings if something is left behind."""

    def temporary(self, chains: Iterable[Chain]) -> str | None:
        """The id of our own snapshot: it owns the layers that it froze, each just under the active one."""
        owners = set()
        for chain in chains:
            image_id = self.frozen.get(chain.disk.id)
            if image_id is None:
                continue
            if not chain.frozen or chain.frozen[-1].image_id != image_id:
                raise BackupFailed(
                    f"The frozen layer of disk {chain.disk.alias} is not the one under its active layer.",
                    "Did somebody take another snapshot meanwhile? Try again.",
                )
            owners.add(chain.frozen[-1].snapshot_id)
        return next(iter(owners), None)


@contextmanager
def frozen(
    engine: Engine,
    vm: VmFacts,
    disks: Sequence[DiskFacts],
    *,
    journal: Journal,
    snapshot: bool,
    freeze: str,
    progress: Progress,
) -> Iterator[Instant]:
    """Freeze what is to be read. After an error the engine is asked for the merge, and not waited for."""
    vm = replace(vm, status=vm_status(engine, vm.id), snapshots=read_snapshots(engine, vm.id))
    check_suitable(vm)
    refuse_inactive(engine, vm, disks)
    prove_reading(engine, [(disk.id, disk.alias or disk.id) for disk in disks])
    up = vm.status == "up"
    # The engine merges a running VM's layers only on disks that are plugged in; what is not, rests anyway.
    plugged = [disk for disk in disks if disk.active or not up]
    if not snapshot:
        instant = _as_it_is(vm, "no temporary snapshot was asked for")
    elif not plugged:
        instant = _as_it_is(vm, "no disk is plugged in")
    else:
        instant = _take_snapshot(engine, vm, plugged, journal, freeze if up else "never", progress)
    try:
        yield instant
    except BaseException:
        try:
            instant.let_go()
        except BorgOvirtError as error:
            progress.warn(f"{error.message} The next run or `borg-ovirt cleanup` tries again.")
        raise


def _take_snapshot(
    engine: Engine,
    vm: VmFacts,
    disks: Sequence[DiskFacts],
    journal: Journal,
    freeze: str,
    progress: Progress,
) -> Instant:
    progress.step(f"{vm.name}: taking a temporary snapshot")
    way = SnapshotMethod(
        engine,
        journal,
        vm,
        disks,
        description="temporary snapshot for a backup",
        freeze=freeze,
        log=progress.step,
    )
    way.start()
    up = vm.status == "up"
    return Instant(
        method=way.name,
        reason="it freezes the layers that the VM writes to",
        consistency=way.consistency if up else "frozen",
        time=way.instant,
        vm_down=not up,
        snapshots=read_snapshots(engine, vm.id),
        frozen={disk.id: way.request(disk).image_id or "" for disk in disks},
        let_go=way.end,
        wait_gone=way.wait_ended,
    )


def _as_it_is(vm: VmFacts, reason: str) -> Instant:
    down = vm.status == "down"
    return Instant(
        method="frozen layers",
        reason=reason,
        consistency="frozen" if down else "unknown",
        time=datetime.now(timezone.utc),
        vm_down=down,
        snapshots=vm.snapshots,
    )
