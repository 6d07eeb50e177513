"""The box as tests hold it: make VMs and disks, play the guest, break things, ask for the exact bytes."""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from ovirtbox import attachments, backups, disks, hosts, machines, moving, restoring, rights, snapshots
from ovirtbox.app import make_app
from ovirtbox.beside import MacPool
from ovirtbox.clock import Clock
from ovirtbox.dataplane import DataPlane
from ovirtbox.disks import layer_path
from ovirtbox.engine import EngineCore
from ovirtbox.imports import free_mac
from ovirtbox.inject import Inject
from ovirtbox.locks import Locks
from ovirtbox.model import (
    Attachment,
    Backup,
    Cluster,
    DataCenter,
    Disk,
    Grant,
    Host,
    Layer,
    Nic,
    Profile,
    Snapshot,
    StorageDomain,
    Tag,
    Template,
    User,
    Vm,
    World,
    new_id,
)
from ovirtbox.pki import make_pki
from ovirtbox.rhythm import Rhythm
from ovirtbox.server import Server
from ovirtbox.templates import instantiate
from ovirtbox.xml import API

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

OVER = ("succeeded", "failed")
FINISHED = ("finished_success", "finished_failure", "finished_cleanup")


@dataclass
class DiskSpec:
    """A disk that a test wants."""

    size: int
    format: str = "cow"
    sparse: bool = True
    domain: str = "data"
    backup: str | None = None
    """None: `incremental` for qcow2, `none` for raw."""
    content: Sequence[tuple[int, bytes]] = ()
    bootable: bool = False
    active: bool = True
    storage_type: str = "image"
    shareable: bool = False
    alias: str | None = None
    description: str = ""
    interface: str = "virtio_scsi"
    initial_size: int | None = None


@dataclass
class Box:
    """Made by `Box.start`; `with` stops it. REST and this handle share one world."""

    directory: Path
    engine: EngineCore
    server: Server
    inject: Inject
    ca_file: Path
    password_file: Path
    _snapshots_as_found: set[str] = field(default_factory=set)
    _vms_made: set[str] = field(default_factory=set)

    # --- life ---

    @classmethod
    def start(
        cls,
        directory: Path,
        tick: float = 0.02,
        *,
        port: int = 0,
        password: str | None = None,
        rhythm: float = 0.0,
    ) -> Box:
        """`rhythm`: 1 takes the time of a real engine (rhythm.py), 0 none but the ticks."""
        directory = Path(directory).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        pki = make_pki(directory / "pki")
        password = password or secrets.token_urlsafe(12)
        password_file = directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password + "\n")
        inject = Inject()
        engine = EngineCore(
            world=World(directory),
            clock=Clock(tick),
            locks=Locks(),
            data=DataPlane(directory / "host", pki),
            faults_injection=inject,
            password=password,
            rhythm=Rhythm(rhythm),
        )
        inject.engine = engine
        server = Server(make_app(engine), pki, port)
        box = cls(directory, engine, server, inject, pki.ca_file, password_file)
        box._furnish()
        engine.data.start()
        engine.clock.start()
        server.start()
        return box

    def stop(self) -> None:
        self.server.stop()
        self.engine.clock.stop()
        self.engine.data.stop()

    def __enter__(self) -> Box:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _furnish(self) -> None:
        center = DataCenter(new_id(), "Default")
        self.world.data_centers[center.id] = center
        pool = MacPool("Default")
        self.world.beside.mac_pools[pool.id] = pool
        self.make_cluster("Default", (4, 7))
        self.make_profile("ovirtmgmt")
        self.make_domain("data", "file")
        self.make_domain("lun", "block")

    # --- how to reach it ---

    @property
    def world(self) -> World:
        return self.engine.world

    @contextmanager
    def rhythm(self, factor: float) -> Iterator[None]:
        """Inside, the engine takes so much of a real one's time (rhythm.py); 0 is as fast as it can."""
        before, self.engine.rhythm.factor = self.engine.rhythm.factor, factor
        try:
            yield
        finally:
            self.engine.rhythm.factor = before

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.port}{API}"

    @property
    def user(self) -> str:
        return self.engine.user

    @property
    def password(self) -> str:
        return self.engine.password

    def env(self) -> dict[str, str]:
        """What the product wants to know of an engine."""
        return {
            "BORG_OVIRT_URL": self.url,
            "BORG_OVIRT_USERNAME": self.user,
            "BORG_OVIRT_PASSWORD_FILE": str(self.password_file),
            "BORG_OVIRT_CA_FILE": str(self.ca_file),
        }

    # --- users ---

    def make_user(
        self, name: str, *grants: tuple[Iterable[str], str | None], administrative: bool = True
    ) -> dict[str, str]:
        """A user with a role of its own for each grant: permits, and the id of the object (None: the system).

        What comes back goes into the environment of the product.
        """
        password = secrets.token_urlsafe(12)
        user = User(new_id(), f"{name}@internal", password)
        for permits, on in grants:
            role = rights.make_role(f"{name}-{len(user.grants)}", permits, administrative=administrative)
            self.engine.roles[role.id] = role
            user.grants.append(Grant(role.id, on))
        self.engine.users[user.name] = user
        path = self.directory / f"password-{name}"
        path.touch(mode=0o600)
        path.write_text(password + "\n")
        return {"BORG_OVIRT_USERNAME": user.name, "BORG_OVIRT_PASSWORD_FILE": str(path)}

    def make_documented_user(self, name: str, *, without: str = "") -> dict[str, str]:
        """A user with the role of docs/operating.md, or with all of it but one permit."""

        def all_but(*permits: str) -> list[str]:
            return [permit for permit in permits if permit != without]

        return self.make_user(
            name,
            (all_but(*rights.FOR_BACKUPS_ON_SYSTEM, *rights.FOR_RESTORES_ON_SYSTEM), None),
            (all_but(*rights.FOR_BACKUPS, *rights.FOR_RESTORES), next(iter(self.world.data_centers))),
        )

    # --- places ---

    def make_cluster(self, name: str, level: tuple[int, int]) -> Cluster:
        """A cluster with one host that is up."""
        with self.world.lock:
            center = next(iter(self.world.data_centers))
            pools = self.world.beside.mac_pools
            cluster = Cluster(new_id(), name, center, level, next(iter(pools)))
            self.world.clusters[cluster.id] = cluster
            host = Host(new_id(), f"host-{name.lower()}", cluster.id)
            self.world.hosts[host.id] = host
            return cluster

    def make_domain(
        self, name: str, kind: str = "file", capacity: int = 2 * TIB, directory: Path | None = None
    ) -> StorageDomain:
        """A storage domain; its volumes lie in `directory`, or in the box's own."""
        with self.world.lock:
            center = next(iter(self.world.data_centers))
            identifier = new_id()
            path = (directory or self.directory / "storage") / identifier
            path.mkdir(parents=True)
            domain = StorageDomain(identifier, name, center, kind, path, capacity)
            self.world.domains[identifier] = domain
            return domain

    def make_profile(self, name: str, network: str = "ovirtmgmt") -> Profile:
        """A vNIC profile."""
        with self.world.lock:
            self.world.beside.network(network)
            profile = Profile(new_id(), name, network)
            self.world.profiles[profile.id] = profile
            return profile

    def domain(self, name: str) -> StorageDomain:
        return next(d for d in self.world.domains.values() if d.name == name)

    def cluster(self, name: str) -> Cluster:
        return next(c for c in self.world.clusters.values() if c.name == name)

    # --- VMs ---

    def make_vm(
        self,
        name: str,
        disks: Sequence[DiskSpec] = (),
        *,
        running: bool = True,
        cluster: str = "Default",
        agent: bool = False,
        nics: int = 1,
        tags: Sequence[str] = (),
        description: str = "",
        memory: int = GIB,
        bios_type: str = "q35_sea_bios",
        origin: str = "ovirt",
        tpm: bool = False,
    ) -> Vm:
        """A VM with these disks and their content, started unless told otherwise."""
        now = self.engine.clock.now()
        vm = Vm(
            id=new_id(),
            name=name,
            cluster=self.cluster(cluster).id,
            description=description,
            memory=memory,
            bios_type=bios_type,
            origin=origin,
            tpm=tpm,
            agent=agent,
            created=now,
            nics=self._make_nics(nics),
            snapshots=[Snapshot(new_id(), "Active VM", now, type="active")],
        )
        with self.world.lock:
            assert not any(other.name == name for other in self.world.vms.values()), f"VM {name} exists"
            self.world.vms[vm.id] = vm
            self._vms_made.add(vm.id)
            for tag in tags:
                self.make_tag(tag)
                vm.tags.append(tag)
        for spec in disks:
            self.add_disk(vm, spec)
        if running:
            self.start_vm(vm)
        return vm

    def _make_nics(self, count: int) -> list[Nic]:
        with self.world.lock:
            taken = {nic.mac for vm in self.world.vms.values() for nic in vm.nics}
            made = []
            for number in range(1, count + 1):
                mac = free_mac(taken)
                taken.add(mac)
                made.append(Nic(new_id(), f"nic{number}", mac))
            return made

    def make_tag(self, name: str, parent: str | None = None) -> Tag:
        with self.world.lock:
            by_name = {tag.name: tag for tag in self.world.tags.values()}
            if name not in by_name:
                above = by_name[parent].id if parent else None
                tag = Tag(new_id(), name, above)
                self.world.tags[tag.id] = tag
                return tag
            return by_name[name]

    def vm(self, name: str) -> Vm:
        return next(vm for vm in self.world.vms.values() if vm.name == name)

    def start_vm(self, vm: Vm) -> None:
        machines.start(self.engine, vm)
        self.wait(lambda: vm.status in ("up", "down"), f"VM {vm.name} to start")
        assert vm.status == "up", self.world.events[-1].description

    def stop_vm(self, vm: Vm) -> None:
        machines.stop(self.engine, vm)
        self.wait(lambda: vm.status == "down", f"VM {vm.name} to stop")

    def crash_vm(self, vm: Vm) -> None:
        """The guest dies as when its host loses power: no dirty bitmap can be trusted any more."""
        self.engine.data.crash_vm(vm.id)
        self.engine.data.freeze_truth(f"crash of {vm.id}", [d for d in self.disks(vm) if d.layers])
        with self.world.lock:
            vm.status, vm.host, vm.started = "down", None, None
            for call in self.engine.on_vm_down:
                call(vm)

    @contextmanager
    def crashed_host(self, vm: Vm) -> Iterator[Host]:
        """Inside, the host of a running VM is dead (hosts.py); then it is back, and its guests are down."""
        host = self.world.hosts[vm.host or ""]
        guests = hosts.crash(self.engine, host, self._leave_scratch)
        try:
            yield host
        finally:
            hosts.come_back(self.engine, host, guests)

    def _leave_scratch(self, name: str, backup: Backup) -> None:
        domain = self.world.disks[backup.disks[0]].domain
        spec = DiskSpec(MIB, alias=name, domain=self.world.domains[domain].name)
        self._make_disk(None, spec).content_type = "backup_scratch"

    def remove_vm(self, vm: Vm) -> None:
        made = [a.disk_id for a in vm.attachments]
        machines.remove(self.engine, vm)
        self.wait(lambda: not any(d in self.world.disks for d in made), f"the disks of {vm.name} to go")

    def disks(self, vm: Vm) -> list[Disk]:
        return [self.world.disks[a.disk_id] for a in vm.attachments]

    # --- disks ---

    def add_disk(self, vm: Vm | None, spec: DiskSpec) -> Disk:
        """A disk with its content, attached to a VM (plugged, if it runs) or floating."""
        disk = self._make_disk(vm, spec)
        if vm is not None:
            wanted = Attachment(disk.id, spec.interface, spec.active, spec.bootable)
            attachments.attach(self.engine, vm, wanted)
        return disk

    def _make_disk(self, vm: Vm | None, spec: DiskSpec) -> Disk:
        domain = self.domain(spec.domain)
        number = len(vm.attachments) + 1 if vm else len(self.world.disks) + 1
        alias = spec.alias or (f"{vm.name}_Disk{number}" if vm else f"disk_{number}")
        backup = spec.backup or ("incremental" if spec.format == "cow" else "none")
        disk = Disk(
            id=new_id(),
            alias=alias,
            domain=domain.id,
            virtual_size=spec.size,
            format=spec.format,
            sparse=spec.sparse,
            description=spec.description,
            backup=backup,
            storage_type=spec.storage_type,
            shareable=spec.shareable,
        )
        if spec.storage_type == "image":
            image_id = new_id()
            sparse = spec.sparse and not (spec.format == "raw" and domain.kind == "block")
            disk.sparse = sparse
            layer = Layer(
                image_id=image_id,
                disk_id=disk.id,
                format=spec.format,
                sparse=sparse,
                virtual_size=spec.size,
                path=layer_path(domain, disk.id, image_id),
                created=self.engine.clock.now(),
            )
            self.engine.data.create_volume(layer, domain, parent=None, initial_size=spec.initial_size)
            disk.layers.append(layer)
        with self.world.lock:
            self.world.disks[disk.id] = disk
        if spec.content:
            self.engine.data.guest_writes(disk, spec.content)
        return disk

    def remove_disk(self, vm: Vm, disk: Disk) -> None:
        """Unplugged, detached and removed."""
        found = snapshots.attachment(vm, disk.id)
        assert found is not None
        attachments.detach(self.engine, vm, found)
        self.delete_disk(disk)

    def unplug(self, vm: Vm, disk: Disk) -> None:
        """It stays attached."""
        found = snapshots.attachment(vm, disk.id)
        assert found is not None
        attachments.update(self.engine, vm, found, active=False)

    def delete_disk(self, disk: Disk) -> None:
        disks.remove(self.engine, disk)
        self.wait(lambda: disk.id not in self.world.disks, f"disk {disk.alias} to go")

    def grow(self, disk: Disk, size: int) -> None:
        disks.update(self.engine, disk, disks.Changes(size=size))
        self.wait(lambda: disk.status == "ok", f"disk {disk.alias} to grow")
        assert disk.virtual_size == size

    def move(self, disk: Disk, domain: str) -> None:
        moving.move(self.engine, disk, self.domain(domain))
        self.wait(lambda: disk.status == "ok", f"disk {disk.alias} to move")
        assert disk.domain == self.domain(domain).id

    # --- snapshots ---

    def snapshot(
        self,
        vm: Vm,
        description: str,
        only: Sequence[Disk] | None = None,
        *,
        memory: bool = False,
        initial_size: int | None = None,
    ) -> Snapshot:
        """Of all disks, or of some. `memory` is only said, not done: there is no memory here.

        `initial_size`: of the new layers on block domains, else 1 GiB each.
        """
        wanted = None
        if only is not None or initial_size is not None:
            chosen = only if only is not None else [d for d in self.disks(vm) if snapshots.snapable(d)]
            block = {d.id for d in chosen if self.world.domains[d.domain].kind == "block"}
            sizes = {d.id: initial_size if d.id in block else None for d in chosen}
            wanted = {disk_id: snapshots.NewLayer(initial_size=size) for disk_id, size in sizes.items()}
        made = snapshots.create(self.engine, vm, description, wanted=wanted, memory=memory)
        self._snapshots_as_found.add(made.id)
        self.wait(lambda: made.status == "ok" or made not in vm.snapshots, f"snapshot {description}")
        assert made in vm.snapshots, self.world.events[-1].description
        return made

    def remove_snapshot(self, vm: Vm, snapshot: Snapshot) -> None:
        snapshots.remove(self.engine, vm, snapshot)
        self.wait(
            lambda: snapshot not in vm.snapshots or snapshot.status == "ok",
            f"snapshot {snapshot.description} to go",
        )
        assert snapshot not in vm.snapshots, self.world.events[-1].description

    def restore_snapshot(self, vm: Vm, snapshot: Snapshot) -> None:
        restoring.restore(self.engine, vm, snapshot)
        self.wait(lambda: vm.status == "down", f"VM {vm.name} to go back")

    # --- templates ---

    def make_template(self, name: str, specs: Sequence[DiskSpec], cluster: str = "Default") -> Template:
        template = Template(new_id(), name, self.cluster(cluster).id, created=self.engine.clock.now())
        for spec in specs:
            disk = self._make_disk(None, spec)
            disk.is_template = True
            template.disks.append(disk.id)
        with self.world.lock:
            self.world.templates[template.id] = template
        return template

    def make_thin_vm(self, name: str, template: Template, *, running: bool = False) -> Vm:
        vm = instantiate(self.engine, template.id, name, self.world.clusters[template.cluster])
        self._vms_made.add(vm.id)
        self.wait(lambda: vm.status == "down", f"VM {name} to be made")
        if running:
            self.start_vm(vm)
        return vm

    # --- the guest ---

    def write(self, disk: Disk, offset: int, data: bytes) -> None:
        self.engine.data.guest_write(disk, offset, data)

    def discard(self, disk: Disk, offset: int, length: int) -> None:
        self.engine.data.guest_discard(disk, offset, length)

    def zero(self, disk: Disk, offset: int, length: int) -> None:
        self.engine.data.guest_zero(disk, offset, length)

    def read(self, disk: Disk, offset: int, length: int) -> bytes:
        return self.engine.data.guest_read(disk, offset, length)

    def fill(self, disk: Disk, offset: int, length: int, seed: int) -> None:
        """Bytes that no compression and no deduplication makes smaller; the same for the same seed."""
        source = random.Random(seed)
        pieces = []
        for start in range(0, length, MIB):
            pieces.append((offset + start, source.randbytes(min(MIB, length - start))))
        self.engine.data.guest_writes(disk, pieces)

    # --- the truth ---

    def content(self, disk: Disk) -> Path:
        """A raw file with what the disk must hold now."""
        return self.engine.data.content(disk)

    def content_at(self, instant: str | Snapshot, disk: Disk) -> Path:
        """What it held at the instant of a backup (its id) or of a snapshot."""
        key = instant.images[disk.id] if isinstance(instant, Snapshot) else instant
        return self.engine.data.content_at(key, disk.id)

    def sha(self, disk: Disk) -> str:
        return sha_of(self.content(disk))

    # --- how it is left ---

    def release_backups(self, vm: Vm) -> None:
        """What only the database helps with: end backups of a VM that the engine never ends."""
        with self.world.lock:
            for backup in self.world.backups.values():
                if backup.vm_id == vm.id and backup.phase not in OVER:
                    backups.give_up(self.engine, backup)

    def as_found(self) -> None:
        """From now on the snapshots that are there count as found, whoever made them."""
        with self.world.lock:
            for vm in self.world.vms.values():
                self._snapshots_as_found |= {snapshot.id for snapshot in vm.snapshots}

    def clean(self, timeout: float = 10.0) -> list[str]:
        """All that is not as found: [] is what a client that cleans up behind itself leaves.

        The engine may need a few ticks to end what was asked of it: that much is waited for.
        """
        deadline = time.monotonic() + timeout
        while (found := self._left()) and time.monotonic() < deadline:
            time.sleep(self.engine.clock.tick)
        return found

    def _left(self) -> list[str]:
        world = self.world
        with world.lock:
            found = list(self.engine.bugs)
            for disk in world.disks.values():
                found += [
                    f"layer {layer.image_id} of disk {disk.alias} is {layer.status}"
                    for layer in disk.layers
                    if layer.status != "ok"
                ]
            found += [
                f"transfer {t.id} is {t.phase}" for t in world.transfers.values() if t.phase not in FINISHED
            ]
            found += [f"backup {b.id} is {b.phase}" for b in world.backups.values() if b.phase not in OVER]
            for vm in world.vms.values():
                found += [
                    f"snapshot {s.description!r} of VM {vm.name} is {s.status}"
                    for s in vm.snapshots
                    if s.status != "ok" or self.is_stray(vm, s)
                ]
            found += [
                f"{owner} holds a lock of {want.kind} {want.key}" for owner, want in self.engine.locks.all()
            ]
        return found + self.engine.data.leftovers()

    def is_stray(self, vm: Vm, snapshot: Snapshot) -> bool:
        """Whether a client made it, or the engine for a client's backup."""
        if snapshot.type == "active":
            return False
        if snapshot.description.startswith("Auto-generated"):
            return True
        return vm.id in self._vms_made and snapshot.id not in self._snapshots_as_found

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 120.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout:.0f} s for {what}")
            time.sleep(min(self.engine.clock.tick, 0.02))

    def shift(self, **by: float) -> None:
        """Let days go by: `shift(hours=1)`."""
        self.engine.clock.shift(timedelta(**by))


def sha_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(4 * MIB):
            digest.update(block)
    return digest.hexdigest()
