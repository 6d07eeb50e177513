"""Restore an archive into a directory, without any engine: sparse images, the OVF, the manifest."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.pipe.file_target import write_sparse
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import MANIFEST, OVF, DiskRecord, Manifest
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.units import format_size


@dataclass
class FilesResult:
    """The files that were, or with `dry_run` would be, written."""

    archive: str
    files: list[tuple[str, int]] = field(default_factory=list)
    """Path and size in bytes as a guest sees it."""
    dry_run: bool = False

    def lines(self) -> list[str]:
        """The result in words."""
        verb = "would write" if self.dry_run else "wrote"
        return [f"{verb} {path} ({format_size(size)})" for path, size in self.files]


def extract_files(
    repository: Repository,
    name: str,
    directory: Path,
    *,
    form: str = "raw",
    disks: Sequence[str] = (),
    dry_run: bool = False,
    progress: Progress,
) -> FilesResult:
    """Write the disks of an archive (or some of them: aliases or ids) as images of `form` raw or qcow2."""
    archive = find_archive(repository, name).name
    reader = repository.archive(archive)
    manifest = reader.manifest
    records = _wanted(manifest, archive, disks)
    qemu_img = _qemu_img() if form == "qcow2" else None
    suffix = "qcow2" if qemu_img else "raw"
    targets = [(record, directory / f"{record.id}.{suffix}") for record in records]
    extras = {directory / OVF: reader.ovf, directory / MANIFEST: manifest.to_json()}
    _check_free(directory, [*extras, *(path for _, path in targets)])
    result = FilesResult(archive, dry_run=dry_run)
    result.files += [(str(path), len(data)) for path, data in extras.items()]
    result.files += [(str(path), record.size) for record, path in targets]
    if dry_run:
        return result
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, data in extras.items():
            path.write_bytes(data)
    except OSError as error:
        raise RestoreFailed(f"Cannot write into {directory}: {error.strerror}.") from None
    for record, path in targets:
        _write(reader, archive, record, path, qemu_img, progress)
    return result


def _wanted(manifest: Manifest, archive: str, words: Sequence[str]) -> list[DiskRecord]:
    records = list(manifest.disks)
    if not words:
        return records
    missing = [word for word in words if not any(word in (d.alias, d.id) for d in records)]
    if missing:
        have = ", ".join(d.alias or d.id for d in records)
        raise RestoreBlocked(f"Archive {archive} has no disk {', '.join(missing)}; it has {have}.")
    return [d for d in records if d.alias in words or d.id in words]


def _qemu_img() -> str:
    found = shutil.which("qemu-img")
    if found is None:
        raise RestoreBlocked(
            "--format qcow2 needs qemu-img.", "Install qemu-utils (or qemu-img), or use raw."
        )
    return found


def _check_free(directory: Path, paths: Sequence[Path]) -> None:
    if directory.exists() and not directory.is_dir():
        raise RestoreBlocked(f"{directory} is not a directory.")
    taken = [path.name for path in paths if path.exists()]
    if taken:
        raise RestoreBlocked(f"{directory} already holds {', '.join(taken)}.", "Choose another directory.")


def _write(
    reader: ArchiveReader,
    archive: str,
    record: DiskRecord,
    path: Path,
    qemu_img: str | None,
    progress: Progress,
) -> None:
    content = reader.disk(record.path)
    name = record.alias or record.id
    if content.damaged:
        raise RestoreBlocked(f"Disk {name} in archive {archive} is damaged.", "Use another archive.")
    raw = path.with_suffix(".raw.part") if qemu_img else path
    with progress.disk(name, record.size) as gauge:
        write_sparse(content, raw, progress=gauge, name=f"disk {name}")
    if qemu_img:
        try:
            _convert(qemu_img, raw, path)
        finally:
            raw.unlink(missing_ok=True)


def _convert(qemu_img: str, raw: Path, path: Path) -> None:
    part = path.with_suffix(".qcow2.part")
    command = [qemu_img, "convert", "-f", "raw", "-O", "qcow2", str(raw), str(part)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        part.unlink(missing_ok=True)
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise RestoreFailed(f"qemu-img could not make {path}: {words}")
    os.rename(part, path)
