"""Templates: disks that nobody writes, and VMs whose disks are thin layers over them."""

from __future__ import annotations

from ovirtbox import jobs
from ovirtbox.disks import layer_path
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL
from ovirtbox.faults import bad, conflict, entity_not_found
from ovirtbox.imports import LONGEST_NAME, free_mac
from ovirtbox.model import BLANK, Attachment, Cluster, Disk, Layer, Nic, Snapshot, Vm, new_id
from ovirtbox.rights import owned_by_maker

ADD = "Cannot add VM"


def instantiate(
    engine: EngineCore,
    template_id: str,
    name: str,
    cluster: Cluster,
    *,
    memory: int = 1 << 30,
    description: str = "",
) -> Vm:
    """A VM from a template: each disk is a qcow2 layer on the template's image, made in the background.

    The empty template has no network cards, so neither has the VM (AddVmCommand takes those of the template).
    """
    world = engine.world
    with world.lock:
        template = world.templates.get(template_id)
        if template is None and template_id != BLANK:
            raise entity_not_found(f"Template: id={template_id}")
        if len(name) >= LONGEST_NAME:
            raise bad(f"{ADD}. The given name is too long.")
        if any(vm.name == name for vm in world.vms.values()):
            text = f"{ADD}. The VM name is already in use, please choose a unique name and try again."
            raise conflict(text)
        now = engine.clock.now()
        taken = {nic.mac for vm in world.vms.values() for nic in vm.nics}
        vm = Vm(
            id=new_id(),
            name=name,
            cluster=cluster.id,
            description=description,
            memory=memory,
            template=template_id,
            created=now,
            nics=[] if template is None else [Nic(new_id(), "nic1", free_mac(taken), "ovirtmgmt")],
            snapshots=[Snapshot(new_id(), "Active VM", now, type="active")],
        )
        made = []
        for number, source_id in enumerate(template.disks if template else [], 1):
            made.append(_thin_disk(engine, vm, world.disks[source_id], number))
        if made:
            vm.status = "image_locked"
        world.vms[vm.id] = vm
        owned_by_maker(engine, vm.id)
        job = jobs.start(engine, f"Creating VM {name}")
        engine.log(37, NORMAL, f"VM {name} creation was initiated by {USER}.", vm_id=vm.id)

    def make() -> None:
        for disk, base in made:
            engine.data.create_volume(disk.active, world.domains[disk.domain], parent=base)

    def done(error: Exception | None) -> None:
        jobs.finish(engine, job, error is None)
        if error is not None:
            for disk, _ in made:
                world.disks.pop(disk.id, None)
            world.vms.pop(vm.id, None)
            engine.log(60, ERROR, f"Failed to complete VM {name} creation.")
            return
        for disk, _ in made:
            disk.active.status = "ok"
        vm.status = "down"
        engine.log(53, NORMAL, f"VM {name} creation has been completed.", vm_id=vm.id)

    engine.background(1, make, done)
    return vm


def _thin_disk(engine: EngineCore, vm: Vm, source: Disk, number: int) -> tuple[Disk, Layer]:
    base = source.active
    identifier, image_id = new_id(), new_id()
    disk = Disk(
        id=identifier,
        alias=f"{vm.name}_Disk{number}",
        domain=source.domain,
        virtual_size=source.virtual_size,
        format="cow",
        sparse=True,
        backup=source.backup,
    )
    layer = Layer(
        image_id=image_id,
        disk_id=identifier,
        format="cow",
        sparse=True,
        virtual_size=source.virtual_size,
        path=layer_path(engine.world.domains[source.domain], identifier, image_id),
        parent=base.image_id,
        snapshot_id=vm.active_snapshot.id,
        status="locked",
        created=engine.clock.now(),
    )
    disk.layers.append(layer)
    engine.world.disks[disk.id] = disk
    vm.attachments.append(Attachment(disk.id, bootable=number == 1))
    return disk, base
