"""What of an archive can be restored: chunks that are lost, headers that lead out of the archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from borg_ovirt.jobs.restore.wanted import Wanted, WantedDisk, layers_of
from borg_ovirt.qcow2 import HEAD, BadHeader, Header, read_header
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import OVF, LayerRecord
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.proof import failed_proof, in_words
from borg_ovirt.repository.reader import ArchiveReader, DiskContent


@dataclass(frozen=True)
class Health:
    """What was found in the items that are wanted."""

    faults: tuple[str, ...] = ()
    damaged: frozenset[str] = frozenset()
    """Ids of the disks that are not whole."""
    ovf_damaged: bool = False
    headers: Mapping[str, Header] = field(default_factory=dict)
    """Image id -> header of each qcow2 layer that is sound."""


def examine(reader: ArchiveReader, wanted: Wanted) -> Health:
    """Look whether every chunk is there, and read the header of every qcow2 layer. No more data is read."""
    faults, damaged, headers = [], set(), {}
    for disk, layer in wanted.layers:
        content = reader.disk(layer.path)
        if content.damaged:
            damaged.add(disk.record.id)
            what = f"layer {layer.image_id} of " if disk.record.layers else ""
            faults.append(f"{what}disk {disk.name} is damaged: the repository lost chunks of it")
        else:
            try:
                if (header := _header(content, disk, layer)) is not None:
                    headers[layer.image_id] = header
            except BadHeader as error:
                faults.append(f"layer {layer.image_id} of disk {disk.name} is not sound: {error}")
    return Health(tuple(faults), frozenset(damaged), reader.damaged(OVF), headers)


def _header(content: DiskContent, disk: WantedDisk, layer: LayerRecord) -> Header | None:
    """The header of a layer, which must say what the manifest says; `BadHeader` if it does not."""
    if layer.format == "raw":
        if layer.parent is not None:
            raise BadHeader("it is raw, so it cannot lie on another")
        return None
    head = b""
    for view in content.fetch(content.chunks):
        head += bytes(view[: HEAD - len(head)])
        if len(head) == HEAD:
            break
    header = read_header(head)
    if header.backing != layer.parent:
        raise BadHeader(f"it names parent {header.backing}, the manifest {layer.parent}")
    if header.virtual_size != layer.capacity:
        raise BadHeader(f"it is for a disk of {header.virtual_size} bytes, the manifest of {layer.capacity}")
    return header


def advice(repository: Repository, archive: ArchiveInfo, reader: ArchiveReader, health: Health) -> str | None:
    """What to do about an archive that is damaged: another one, or what is left of this."""
    if not health.damaged and not health.ovf_damaged and not failed_proof(archive.comment.proofs):
        return None
    found = newest_intact(repository, archive)
    if found:
        return f"The newest archive of this VM that is whole is {found}."
    rest = [d for d in reader.manifest.disks if not any(reader.disk(x.path).damaged for x in layers_of(d))]
    words = ["No other archive of this VM is whole."]
    if rest:
        words.append(f"{' '.join(f'--disk {d.alias or d.id}' for d in rest)} restores what is.")
    if health.damaged:
        words.append(
            "Of a damaged disk `borg check --repair` and then `borg extract` give what is left, with zeros "
            "in place of what was lost; README.txt in the archive tells how to use it."
        )
    return " ".join(words)


def doubt(info: ArchiveInfo, name: str) -> str | None:
    """Why an archive is not what a VM's name stands for: it failed its proof. By its own name it is taken."""
    failed = failed_proof(info.comment.proofs) if info.name != name else None
    return f"{in_words(failed)} (its own name takes it all the same)" if failed else None


def newest_intact(repository: Repository, damaged: ArchiveInfo) -> str | None:
    """The newest other archive of the same VM that can be restored as a whole."""
    mine = [s for s in repository.series() if s.vm_id == damaged.comment.vm_id]
    here = {s.engine_id or s.engine for s in mine if damaged in s.archives}
    found = [
        next((info for info in s.newest_first if info != damaged and not repository.damage(info.name)), None)
        for s in mine
        if (s.engine_id or s.engine) in here
    ]
    intact = [info for info in found if info is not None]
    return max(intact, key=lambda info: (info.comment.number or 0, info.time)).name if intact else None
