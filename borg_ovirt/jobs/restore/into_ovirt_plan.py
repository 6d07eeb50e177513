"""The plan of a restore into oVirt: a VM, single disks, or an archived disk over one that exists. Pure."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace

from borg_ovirt.jobs.restore.chains import chain_notes, place_chain, snapshot_steps
from borg_ovirt.jobs.restore.health import Health
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.placing import Placing, check_space, first_size
from borg_ovirt.jobs.restore.plan import DiskPlan, RestorePlan, SnapshotStep, VmPlan, missing_tool
from borg_ovirt.jobs.restore.site import NOWHERE, Site
from borg_ovirt.jobs.restore.wanted import Wanted
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.units import format_size

_NAME = re.compile(r"[\w.-]{1,255}")
"""A VM's name, as the engine checks it."""


def plan_into_ovirt(wanted: Wanted, health: Health, site: Site, options: RestoreOptions) -> RestorePlan:
    """Lay out a restore under the user's options on that site."""
    blockers = [*wanted.blockers, *health.faults]
    tool = missing_tool(wanted)
    if tool and not site.has_qemu_img:
        blockers.append(tool)
    if options.over is not None:
        return _over(wanted, site, options, blockers)
    whole_vm = not options.disks
    cluster_id, cluster_name, data_center = "", "", None
    if whole_vm:
        cluster_id, cluster_name, data_center = _cluster(wanted.manifest, site, options, blockers)
        if health.ovf_damaged:
            blockers.append("the VM's configuration is damaged: the repository lost chunks of vm.ovf")
    placing = Placing(site, options, data_center, blockers)
    disks = []
    for disk in wanted.disks:
        if disk.whole:
            made = placing.place(disk)
            disks.append(replace(made, initial_size=first_size(made)))
        else:
            disks.append(place_chain(placing, disk, health))
    check_space(disks, blockers)
    if any(layer.most for disk in disks for layer in disk.layers) and not site.has_qemu_img:
        blockers.append("cutting layers of block storage to their data needs qemu-img: install qemu-utils")
    layered = [disk for disk in disks if disk.layers]
    steps = snapshot_steps(wanted.manifest, layered, blockers) if layered else ()
    vm = None
    if whole_vm:
        vm = _vm(wanted.manifest, disks, site, options, (cluster_id, cluster_name), blockers)
    return RestorePlan(
        title="disks alone"
        if vm is None
        else f"VM {vm.name} ({vm.id}) in cluster {vm.cluster_name or 'none'}",
        disks=tuple(disks),
        vm=vm,
        snapshots=steps,
        blockers=tuple(blockers),
        notes=tuple(_notes(wanted.manifest, layered, steps)),
    )


def _notes(manifest: Manifest, layered: list[DiskPlan], steps: tuple[SnapshotStep, ...]) -> list[str]:
    notes = [f"{s.alias or s.id} is not in the archive ({s.reason})" for s in manifest.skipped]
    if manifest.vm.tpm:
        notes.append("TPM state is not in the archive: the VM gets an empty TPM")
    if manifest.vm.bios_type in ("q35_ovmf", "q35_secure_boot"):
        notes.append("UEFI variables are not in the archive: the VM gets default ones")
    return [*notes, *chain_notes(manifest, steps)] if layered else notes


def _cluster(
    manifest: Manifest, site: Site, options: RestoreOptions, blockers: list[str]
) -> tuple[str, str, str | None]:
    """Id, name and data center; a cluster of the archived name will do in another engine."""
    words = [options.cluster] if options.cluster else [manifest.vm.cluster_id, manifest.vm.cluster]
    for word in words:
        for cluster_id, (name, data_center) in site.clusters.items():
            if word and word in (cluster_id, name):
                return cluster_id, name, data_center
    blockers.append(
        f"there is no cluster {options.cluster or manifest.vm.cluster}: choose one with --cluster"
    )
    return "", "", None


def _vm(
    manifest: Manifest,
    disks: list[DiskPlan],
    site: Site,
    options: RestoreOptions,
    cluster: tuple[str, str],
    blockers: list[str],
) -> VmPlan:
    ids: dict[str, str] = {}
    if options.fresh:
        ids[manifest.vm.id] = str(uuid.uuid4())
        for disk in disks:
            ids[disk.source.record.id] = disk.disk_id
            if disk.source.record.image_id:
                ids[disk.source.record.image_id] = disk.image_id
            ids.update({layer.record.image_id: layer.image_id for layer in disk.layers})
    name = options.name or manifest.vm.name
    if options.name is None and manifest.vm.id in site.vm_ids:
        blockers.append(
            f"VM {manifest.vm.name} ({manifest.vm.id}) exists: restore beside it with --name, or remove it"
        )
    elif not _NAME.fullmatch(name):
        blockers.append(
            f"no VM can be named {name!r}: choose a name with --name, of letters, digits and ._- only, "
            "1 to 255 of them"
        )
    elif name in site.vm_names:
        blockers.append(f"a VM named {name} exists: choose another name with --name")
    return VmPlan(ids.get(manifest.vm.id, manifest.vm.id), name, *cluster, ids)


def _over(wanted: Wanted, site: Site, options: RestoreOptions, blockers: list[str]) -> RestorePlan:
    """The one archived disk over the one that is named."""
    disk = site.over
    if disk is None:
        blockers.append(f"there is no disk {options.over} in the engine")
        return RestorePlan(f"disk {options.over} overwritten", blockers=tuple(blockers))
    if disk.skip_reason:
        blockers.append(f"disk {disk.alias} cannot be written: {disk.skip_reason}")
    if disk.status != "ok":
        blockers.append(f"disk {disk.alias} is {disk.status}")
    for name, status in site.users:
        if status != "down":
            blockers.append(f"VM {name}, which uses the disk, is {status}: shut it down")
    for source in wanted.disks:
        size = source.record.size
        if disk.size < size:
            blockers.append(
                f"disk {disk.alias} has {format_size(disk.size)}, the archived one {format_size(size)}"
            )
    if not options.yes:
        blockers.append(f"disk {disk.alias} ({disk.id}) holds data: say --yes to overwrite it")
    plans = tuple(
        DiskPlan(
            source=source,
            layers=(),
            disk_id=disk.id,
            image_id=disk.image_id or "",
            alias=disk.alias or disk.id,
            size=disk.size,
            domain=site.domain(disk.storage_domain) or NOWHERE,
            format=disk.format,
            sparse=disk.sparse,
            exists=True,
        )
        for source in wanted.disks
    )
    note = "its present content is lost; if the upload fails, it may be half the one and half the other"
    return RestorePlan(
        title=f"disk {disk.alias} ({disk.id}) overwritten",
        disks=plans,
        blockers=tuple(blockers),
        notes=(note,),
    )
