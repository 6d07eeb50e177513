"""The plan of a restore into oVirt: a VM, single disks, or an archived disk over one that exists. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from borg_ovirt.jobs.restore.again import plan_again
from borg_ovirt.jobs.restore.chains import chain_notes, place_chain, snapshot_steps
from borg_ovirt.jobs.restore.health import Health
from borg_ovirt.jobs.restore.nics import plan_nics
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.placing import FILE_BLOCK, Placing, check_space, check_target, first_size
from borg_ovirt.jobs.restore.plan import DiskPlan, RestorePlan, SnapshotStep, VmPlan, missing_tool
from borg_ovirt.jobs.restore.site import NOWHERE, Site, Target, pick_cluster
from borg_ovirt.jobs.restore.wanted import Wanted
from borg_ovirt.ovirt.facts.ovf import OvfNic
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.units import format_size

_LONGEST_NAME = 255


def may_be_named(name: str) -> bool:
    """Whether a VM can have that name: letters of any script, ASCII digits and ._-, 1 to 255 of them."""
    length = len(name.encode("utf-16-le")) // 2  # as Java counts
    return 1 <= length <= _LONGEST_NAME and all(c.isalpha() or c in "0123456789._-" for c in name)


def plan_into_ovirt(
    wanted: Wanted, health: Health, site: Site, options: RestoreOptions, cards: Sequence[OvfNic] = ()
) -> RestorePlan:
    """Lay out a restore under the user's options on that site. `cards`: the VM's, as its OVF has them."""
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
    vm: VmPlan | None = None
    lost: tuple[str, ...] = ()
    if whole_vm:
        vm = _vm(wanted.manifest, disks, site, options, (cluster_id, cluster_name), blockers)
        again, lost = plan_again(wanted.manifest, site.held, options)
        lost = (*lost, *_lost_snapshots(wanted.manifest, steps))
        vm = replace(vm, nics=plan_nics(cards, site, options, blockers), again=again)
    if options.attach is not None:
        check_target(site, options.attach, disks, blockers)
    return RestorePlan(
        title=_title(vm, site.attach),
        attach=site.attach,
        disks=tuple(disks),
        vm=vm,
        snapshots=steps,
        blockers=tuple(blockers),
        notes=tuple(_notes(wanted.manifest, layered, steps)),
        lost=(*lost, *_lost_quotas(disks)),
    )


def _lost_quotas(disks: Sequence[DiskPlan]) -> list[str]:
    lost = [disk for disk in disks if disk.source.record.quota and not disk.quota]
    return [f"quota of disk {disk.alias} ({disk.disk_id}): the engine has it no more" for disk in lost]


def _lost_snapshots(manifest: Manifest, steps: tuple[SnapshotStep, ...]) -> list[str]:
    if steps or not manifest.snapshots:
        return []
    names = ", ".join(snapshot.description for snapshot in manifest.snapshots)
    return [f"snapshots {names}: of the disks there is one state (archives of `--mode chain` keep snapshots)"]


def _title(vm: VmPlan | None, target: Target | None) -> str:
    if vm is not None:
        return f"VM {vm.name} ({vm.id}) in cluster {vm.cluster_name or 'none'}"
    return f"disks for VM {target.name} ({target.id})" if target is not None else "disks alone"


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
    """Id, name and data center."""
    chosen = pick_cluster(manifest, site.clusters, options)
    if chosen is not None:
        return (chosen, *site.clusters[chosen])
    archived = manifest.vm.cluster or ""
    missing = options.cluster or options.mapping.clusters.get(archived, archived)
    blockers.append(f"there is no cluster {missing}: choose one with --cluster")
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
    elif not may_be_named(name):
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
    domain = site.domain(disk.storage_domain) or NOWHERE
    if disk.format == "raw" and disk.size % FILE_BLOCK and not domain.block:
        blockers.append(f"disk {disk.alias} is raw of {disk.size} bytes: file storage takes no upload to it")
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
            domain=domain,
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
