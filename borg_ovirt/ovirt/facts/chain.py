"""The snapshot chain of a disk: its layers as the engine lists them, put in order and checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from borg_ovirt.errors import BackupFailed
from borg_ovirt.ovirt.facts.model import BLANK_TEMPLATE, DiskFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.session.sense import size
from borg_ovirt.qcow2 import BadHeader, read_header

_HINT = "Is a snapshot being merged, or was the chain changed by hand? Nothing was stored."


@dataclass(frozen=True)
class LayerFacts:
    """One volume of a chain. Sizes in bytes."""

    image_id: str
    disk_id: str
    """The disk that the volume belongs to: for a template's layer the template's disk."""
    parent: str | None
    format: str
    """`cow` or `raw`."""
    sparse: bool
    capacity: int
    """Virtual size at this layer."""
    actual_size: int | None = None
    qcow_version: str | None = None
    snapshot_id: str | None = None
    """The VM snapshot that owns it; the engine tells none for the active layer and for a template's."""
    storage_domain: str | None = None
    status: str = "ok"
    template: bool = False


@dataclass(frozen=True)
class Chain:
    """The layers of one disk, base first; those of its template lie below its own."""

    disk: DiskFacts
    layers: tuple[LayerFacts, ...]

    @property
    def active(self) -> LayerFacts:
        """The layer that a running VM writes to."""
        return self.layers[-1]

    @property
    def frozen(self) -> tuple[LayerFacts, ...]:
        """The layers that nobody writes to."""
        return self.layers[:-1]


def read_chain(engine: Engine, disk: DiskFacts, vm: VmFacts) -> Chain:
    """Ask the engine for the chain of a disk and put it in order."""
    found = {layer.image_id: layer for layer in _listed(engine, disk)}
    lowest = _lowest_parent(found)
    if lowest is not None and vm.template_id != BLANK_TEMPLATE:
        found.update((layer.image_id, layer) for layer in _of_template(engine, vm, lowest))
    return compose(disk, found.values())


def compose(disk: DiskFacts, layers: Iterable[LayerFacts]) -> Chain:
    """Order the layers by their parents: the engine's order means nothing. The active one may be left out.

    `BackupFailed` unless they are one line from a base to the disk's active image.
    """
    name = disk.alias or disk.id
    by_id = {layer.image_id: layer for layer in layers}
    children: dict[str | None, list[LayerFacts]] = {}
    for layer in by_id.values():
        children.setdefault(layer.parent, []).append(layer)
    bases = children.get(None, [])
    if len(bases) != 1:
        known = ", ".join(sorted(str(p) for p in children if p is not None and p not in by_id))
        what = (
            f"its layers rest on {known}, which the engine does not list" if known else "no layer is its base"
        )
        raise _broken(name, what if not bases else f"{len(bases)} layers are its base")
    ordered = [bases[0]]
    while above := children.get(ordered[-1].image_id):
        if len(above) > 1:
            raise _broken(name, f"{len(above)} layers rest on {ordered[-1].image_id}")
        ordered.append(above[0])
    if len(ordered) != len(by_id):
        lost = sorted(set(by_id) - {layer.image_id for layer in ordered})
        raise _broken(name, f"{', '.join(lost)} belong to no chain from the base up")
    if disk.image_id is not None and disk.image_id not in by_id:
        ordered.append(_unlisted_active(disk, ordered[-1]))
    if disk.image_id is not None and ordered[-1].image_id != disk.image_id:
        raise _broken(name, f"{ordered[-1].image_id} lies on the active layer {disk.image_id}")
    bad = [layer.image_id for layer in ordered if layer.status == "illegal"]
    if bad:
        raise _broken(name, f"the engine calls {', '.join(bad)} illegal")
    return Chain(disk, tuple(ordered))


def check_head(name: str, layer: LayerFacts, head: bytes) -> None:
    """Compare the first bytes of a volume that was read with what the engine says of it."""
    if layer.format == "raw":
        return
    try:
        header = read_header(head)
    except BadHeader as error:
        raise _broken(name, f"layer {layer.image_id} should be qcow2, but {error}") from None
    if header.backing != layer.parent:
        raise _broken(
            name,
            f"the parent of layer {layer.image_id} is {layer.parent or 'none'} for the engine, "
            f"{header.backing or 'none'} in its file",
        )
    if header.virtual_size != layer.capacity:
        raise _broken(
            name,
            f"layer {layer.image_id} has {layer.capacity} bytes for the engine, "
            f"{header.virtual_size} in its file",
        )


def _broken(name: str, what: str) -> BackupFailed:
    return BackupFailed(f"The snapshot chain of disk {name} is not sound: {what}.", _HINT)


def _unlisted_active(disk: DiskFacts, below: LayerFacts) -> LayerFacts:
    """The active layer on an engine that does not list it: the disk itself tells of it."""
    return LayerFacts(
        image_id=disk.image_id or "",
        disk_id=disk.id,
        parent=below.image_id,
        format=disk.format,
        sparse=disk.sparse,
        capacity=disk.size,
        actual_size=disk.actual_size,
        qcow_version=disk.qcow_version,
        storage_domain=disk.storage_domain,
    )


# -- asking the engine -----------------------------------------------------------------------------------


def _listed(engine: Engine, disk: DiskFacts) -> list[LayerFacts]:
    """The layers of a disk; its template's too where the engine knows how."""
    wishes = {"include_active": "true", "include_template": "true"}
    what = f"list the layers of disk {disk.alias or disk.id}"
    try:
        found = engine.call(
            what,
            lambda s: s.disks_service().disk_service(disk.id).disk_snapshots_service().list(query=wishes),
        )
    except NotFound:  # before 4.4.3 only a storage domain lists layers
        domain = disk.storage_domain or ""
        found = engine.call(
            what,
            lambda s: (
                s.storage_domains_service()
                .storage_domain_service(domain)
                .disk_snapshots_service()
                .list(query=wishes)
            ),
        )
        found = [snapshot for snapshot in found or () if snapshot.disk and snapshot.disk.id == disk.id]
    if not found:
        return [] if disk.image_id is None else [_only(disk)]
    return [_layer(snapshot, disk) for snapshot in found]


def _only(disk: DiskFacts) -> LayerFacts:
    """A disk without snapshots on an engine that does not list the active layer: it is all there is."""
    return LayerFacts(
        image_id=disk.image_id or "",
        disk_id=disk.id,
        parent=None,
        format=disk.format,
        sparse=disk.sparse,
        capacity=disk.size,
        actual_size=disk.actual_size,
        qcow_version=disk.qcow_version,
        storage_domain=disk.storage_domain,
    )


def _layer(snapshot: Any, disk: DiskFacts) -> LayerFacts:
    owner = snapshot.disk.id if snapshot.disk else disk.id
    domains = [snapshot.storage_domain, *(snapshot.storage_domains or ())]
    return LayerFacts(
        image_id=snapshot.id,
        disk_id=owner,
        parent=snapshot.parent.id if snapshot.parent else None,
        format=_text(snapshot.format),
        sparse=bool(snapshot.sparse),
        capacity=size(snapshot.provisioned_size),
        actual_size=snapshot.actual_size,
        qcow_version=_text(snapshot.qcow_version) or None,
        snapshot_id=snapshot.snapshot.id if snapshot.snapshot and owner == disk.id else None,
        storage_domain=next((d.id for d in domains if d), disk.storage_domain),
        status=_text(snapshot.status) or "ok",
        template=owner != disk.id,
    )


def _lowest_parent(found: dict[str, LayerFacts]) -> str | None:
    """The image that the listed layers rest on and that is not among them."""
    return next((x.parent for x in found.values() if x.parent and x.parent not in found), None)


def _of_template(engine: Engine, vm: VmFacts, image_id: str) -> Sequence[LayerFacts]:
    """The template's image, on an engine that does not list it with the disk's own layers."""
    attachments = engine.call(
        f"list the disks of the template of VM {vm.name}",
        lambda s: (
            s.templates_service()
            .template_service(vm.template_id)
            .disk_attachments_service()
            .list(follow="disk")
        ),
    )
    for attachment in attachments or ():
        disk = attachment.disk
        if disk is not None and disk.image_id == image_id:
            domains = disk.storage_domains or ()
            facts = DiskFacts(
                id=disk.id,
                alias=disk.alias or "",
                size=size(disk.provisioned_size),
                format=_text(disk.format),
                sparse=bool(disk.sparse),
                storage_type="image",
                image_id=image_id,
                actual_size=disk.actual_size,
                storage_domain=next((d.id for d in domains), None),
                qcow_version=_text(disk.qcow_version) or None,
            )
            return [replace(_only(facts), template=True)]
    return []


def _text(value: Any) -> str:
    return str(getattr(value, "value", value) or "")
