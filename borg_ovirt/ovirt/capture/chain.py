"""Chain mode: every layer of every disk that nobody writes to, under a temporary snapshot or as it rests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from borg_ovirt.errors import BackupFailed, VmNotSuitable
from borg_ovirt.ovirt.capture.capture import Capture, CapturedDisk, CapturedLayer, look_again
from borg_ovirt.ovirt.capture.instant import disks_now
from borg_ovirt.ovirt.capture.methods import AsItIs, CaptureMethod, Log
from borg_ovirt.ovirt.capture.snapshot_method import SnapshotMethod
from borg_ovirt.ovirt.data.transfer import TransferRequest
from borg_ovirt.ovirt.facts.chain import Chain, LayerFacts, read_chain
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.facts.vm import read_snapshots
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal


@contextmanager
def capture_chain(
    engine: Engine,
    vm: VmFacts,
    disks: Sequence[DiskFacts],
    *,
    journal: Journal,
    description: str,
    snapshot: bool = True,
    freeze: str = "auto",
    log: Log = lambda text: None,
) -> Iterator[Capture]:
    """The layers of these disks of a VM; with `snapshot` those that it writes to are frozen for it."""
    vm = look_again(engine, vm, disks)
    # The engine merges a running VM's layers only on disks that are plugged in; what is not, rests anyway.
    plugged = [disk for disk in disks if disk.active or vm.status != "up"]
    method: CaptureMethod
    if snapshot and plugged:
        method = SnapshotMethod(engine, journal, vm, plugged, description=description, freeze=freeze, log=log)
        reason = "it freezes the layers that the VM writes to"
    else:
        method = AsItIs(vm, "frozen layers", "frozen" if vm.status == "down" else "unknown")
        reason = "no disk is plugged in" if snapshot else "no temporary snapshot was asked for"
    method.start()
    captured = Capture(engine, journal, vm, method, reason, log)
    with captured.unwinding():
        _compose(captured, disks, method.frozen or {})
        yield captured


def _compose(captured: Capture, disks: Sequence[DiskFacts], frozen: Mapping[str, str]) -> None:
    """Read the chains as they are now."""
    engine, vm = captured.engine, captured.vm
    chains = [read_chain(engine, disk, vm) for disk in disks_now(captured, disks)]
    own = _temporary(chains, frozen)
    snapshots = tuple(s for s in read_snapshots(engine, vm.id) if s.id != own)
    captured.vm = replace(captured.vm, snapshots=snapshots)
    for chain in chains:
        disk = chain.disk
        resting = disk.id not in frozen and (vm.status == "down" or not disk.active)
        layers = chain.layers if resting else chain.frozen
        if layers:
            above = [*(layer.image_id for layer in chain.layers[1:]), None]
            found = [_layer(vm, chain, *pair) for pair in zip(layers, above, strict=False)]
            captured.disks.append(CapturedDisk(disk, captured.method, found))
        else:
            captured.left_out.append((disk, "no layer is frozen"))
    if not captured.disks:
        raise VmNotSuitable(f"No layer of VM {vm.name} is frozen, and it runs.", "Leave out --no-snapshot.")


def _temporary(chains: Iterable[Chain], frozen: Mapping[str, str]) -> str | None:
    """The id of our own snapshot: it owns the layers that it froze, each just under the active one."""
    owners = set()
    for chain in chains:
        image_id = frozen.get(chain.disk.id)
        if image_id is None:
            continue
        if not chain.frozen or chain.frozen[-1].image_id != image_id:
            raise BackupFailed(
                f"The frozen layer of disk {chain.disk.alias} is not the one under its active layer.",
                "Did somebody take another snapshot meanwhile? Try again.",
            )
        owners.add(chain.frozen[-1].snapshot_id)
    return next(iter(owners), None)


def _layer(vm: VmFacts, chain: Chain, layer: LayerFacts, child: str | None) -> CapturedLayer:
    """The transfer of one volume: its file as it lies. Of a raw one the zeros are told besides."""
    request = TransferRequest(
        "download",
        layer.disk_id,
        f"layer {layer.image_id}",
        layer.capacity,
        vm_id=vm.id,
        image_id=None if layer is chain.active else layer.image_id,
        format="raw" if layer.format == "raw" else None,
    )
    return CapturedLayer(request, layer, child)
