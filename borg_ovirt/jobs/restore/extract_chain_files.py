"""Restore an archive of snapshot chains into a directory: as it lies, or each disk joined into one image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.jobs.restore.chain_plan import as_of
from borg_ovirt.jobs.restore.extract_files import FilesResult
from borg_ovirt.jobs.restore.flatten import flatten, qemu_img, stage, work_place
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import MANIFEST, OVF, DiskRecord
from borg_ovirt.repository.open import Repository


def extract_chain_files(
    repository: Repository,
    name: str,
    directory: Path,
    *,
    joined: bool = False,
    form: str = "raw",
    snapshot: str | None = None,
    disks: Sequence[str] = (),
    work_dir: Path | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> FilesResult:
    """Write the layers of an archive where `borg extract` would; with `joined` one image of `form` per disk.

    `snapshot` (description or id): the state as of it. `disks`: only these, by alias or id.
    """
    archive = find_archive(repository, name).name
    reader = repository.archive(archive)
    manifest = reader.manifest
    if snapshot is not None:
        manifest, _ = as_of(manifest, snapshot)
    records = _chosen(manifest.disks, disks, archive)
    if joined:
        qemu_img()
    extras = {directory / OVF: reader.ovf, directory / MANIFEST: reader.manifest.to_json()}
    files = [_image(directory, record, form) for record in records] if joined else []
    if not joined:
        files = [(directory / layer.path, layer.size) for record in records for layer in record.layers]
    _check_free(directory, [*extras, *(path for path, _ in files)])
    result = FilesResult(archive, dry_run=dry_run)
    result.files += [(str(path), len(data)) for path, data in extras.items()]
    result.files += [(str(path), size) for path, size in files]
    if dry_run:
        return result
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, data in extras.items():
            path.write_bytes(data)
        for record in records:
            if not joined:
                (directory / record.path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RestoreFailed(f"Cannot write into {directory}: {error.strerror}.") from None
    for record in records:
        if not joined:
            stage(reader, record, record.layers, directory / record.path, progress)
            continue
        with work_place(work_dir or directory) as place:
            stage(reader, record, record.layers, place, progress)
            path, _ = _image(directory, record, form)
            part = path.with_name(f".{path.name}.part")
            flatten(record, place, part, form, progress)
            os.rename(part, path)
    return result


def _image(directory: Path, record: DiskRecord, form: str) -> tuple[Path, int]:
    return directory / f"{record.id}.{form}", record.size


def _chosen(records: Sequence[DiskRecord], words: Sequence[str], archive: str) -> list[DiskRecord]:
    missing = [word for word in words if not any(word in (d.alias, d.id) for d in records)]
    if missing:
        have = ", ".join(d.alias or d.id for d in records)
        raise RestoreBlocked(f"Archive {archive} has no disk {', '.join(missing)}; it has {have}.")
    return [d for d in records if not words or d.alias in words or d.id in words]


def _check_free(directory: Path, paths: Sequence[Path]) -> None:
    if directory.exists() and not directory.is_dir():
        raise RestoreBlocked(f"{directory} is not a directory.")
    taken = [str(path.relative_to(directory)) for path in paths if path.exists()]
    if taken:
        raise RestoreBlocked(f"{directory} already holds {', '.join(taken)}.", "Choose another directory.")
