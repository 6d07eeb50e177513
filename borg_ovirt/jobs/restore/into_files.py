"""Restores an archive into a directory, without any engine: images or layers, the OVF, the manifest.

Everything is written beside its place and gets its name when all of it is whole: a restore that fails leaves
nothing that would be in the way of the next.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from borg_ovirt.errors import RestoreFailed
from borg_ovirt.jobs.restore.contents import Contents
from borg_ovirt.jobs.restore.health import Health
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import FilePlan, RestorePlan, missing_tool
from borg_ovirt.jobs.restore.site import has_qemu_img
from borg_ovirt.jobs.restore.wanted import Wanted
from borg_ovirt.pipe.file_target import sync, write_small, write_sparse
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import MANIFEST, OVF, README, disk_path
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.repository.readme import readme_of_files

_BESIDE = ".borg-ovirt-"
"""Begins the name of the directory in which everything is written first."""


@dataclass(frozen=True)
class Folder:
    """A directory as it is now, as far as it may be in the way."""

    is_file: bool = False
    names: frozenset[str] = frozenset()
    """Those of the planned files that exist, relative to it."""
    left: tuple[str, ...] = ()
    """What restores that were killed left in it."""
    small: Mapping[str, bytes] = field(default_factory=dict)
    """The small files of the archive that can be read."""
    has_qemu_img: bool = True


def look_at(reader: ArchiveReader, wanted: Wanted, health: Health, options: RestoreOptions) -> Folder:
    """Ask the file system (and the archive for its small files) for all that a plan depends on."""
    directory = options.directory or Path()
    small = {} if health.ovf_damaged else {OVF: reader.ovf}
    small[MANIFEST] = reader.manifest.to_json()
    small[README] = guide_of(wanted, options)
    files = _files(wanted, options, directory, small)
    return Folder(
        is_file=directory.exists() and not directory.is_dir(),
        names=frozenset(str(f.path.relative_to(directory)) for f in files if os.path.lexists(f.path)),
        small=small,
        left=tuple(sorted(path.name for path in directory.glob(f"{_BESIDE}*"))),
        has_qemu_img=has_qemu_img(),
    )


def plan_into_files(wanted: Wanted, health: Health, folder: Folder, options: RestoreOptions) -> RestorePlan:
    """Lay out the files of a restore. Pure."""
    directory = options.directory or Path()
    blockers = [*wanted.blockers, *health.faults]
    notes = [f"{name} was left by a restore that was killed: it can be removed" for name in folder.left]
    if health.ovf_damaged and not options.disks:
        blockers.append("the VM's configuration is damaged: the repository lost chunks of vm.ovf")
    elif health.ovf_damaged:
        notes.append("vm.ovf is damaged and left out")
    files = _files(wanted, options, directory, folder.small)
    tool = missing_tool(wanted, options.form)
    if tool and not folder.has_qemu_img:
        blockers.append(tool)
    if folder.is_file:
        blockers.append(f"{directory} is not a directory")
    taken = [name for f in files if (name := str(f.path.relative_to(directory))) in folder.names]
    if taken:
        blockers.append(f"{directory} already holds {', '.join(taken)}: choose another directory")
    return RestorePlan(title="", files=tuple(files), blockers=tuple(blockers), notes=tuple(notes))


def _files(
    wanted: Wanted, options: RestoreOptions, directory: Path, small: Mapping[str, bytes]
) -> list[FilePlan]:
    files = [FilePlan(directory / name, len(text), name, text=text) for name, text in small.items()]
    for disk in wanted.disks:
        form = options.form or "raw"
        if disk.whole or form == "qcow2":
            item = None if disk.joined or form == "qcow2" else disk.layers[0].path
            files.append(FilePlan(directory / f"{disk.record.id}.{form}", disk.record.size, item, disk, form))
            continue
        for layer in disk.layers:
            form = "qcow2" if layer.format == "cow" else "raw"
            files.append(FilePlan(directory / layer.path, layer.size, layer.path, disk, form))
    return files


def guide_of(wanted: Wanted, options: RestoreOptions) -> bytes:
    """README.txt: which file is which disk, and how each goes back by hand."""
    records = [disk.record for disk in wanted.disks]
    files = {}
    manifest = wanted.manifest
    if all(disk.whole for disk in wanted.disks):  # what was joined of layers is an image like any other
        records = [r.model_copy(update={"layers": (), "path": disk_path(r.id)}) for r in records]
        files = {record.path: f"{record.id}.{options.form or 'raw'}" for record in records}
        manifest = manifest.model_copy(update={"mode": "image"})
    manifest = manifest.model_copy(update={"disks": tuple(records)})
    return readme_of_files(manifest, wanted.archive, files).encode()


def write_files(
    plan: RestorePlan, reader: ArchiveReader, options: RestoreOptions, progress: Progress
) -> None:
    """Write all files of a plan."""
    directory = options.directory or Path()
    contents = Contents(reader, options.work_dir, progress, None)
    with _Placing.into(directory) as placing:
        for file in plan.files:
            part = placing.part(file.path)
            if file.text is not None:
                write_small(part, file.text)
                continue
            name = f"disk {file.disk.name}" if file.disk else file.path.name
            if file.item is not None:
                with progress.disk(name, file.size) as gauge:
                    write_sparse(contents.archived(file.item), part, progress=gauge, name=name)
            elif file.disk is not None:
                with tempfile.TemporaryDirectory(dir=options.work_dir or placing.beside) as place:
                    contents.join(file.disk, Path(place), part, options.form or "raw")
        placing.place([file.path for file in plan.files])


@dataclass
class _Placing:
    """Files on their way to their names."""

    directory: Path
    beside: Path
    made: list[Path] = field(default_factory=list)
    """Directories that were not there before, and files that have their names, in the order of making."""

    @classmethod
    @contextmanager
    def into(cls, directory: Path) -> Iterator[_Placing]:
        """Where an exception ends this, all is as it was found."""
        placing = cls(directory, directory)
        try:
            try:
                placing._make_directories(directory)
                placing.beside = Path(tempfile.mkdtemp(prefix=_BESIDE, dir=directory))
                yield placing
            except OSError as error:
                raise RestoreFailed(
                    f"Cannot write into {directory}: {error.strerror or error}.",
                    "Check the directory and its free space.",
                ) from error
            finally:
                if placing.beside != directory:
                    shutil.rmtree(placing.beside, ignore_errors=True)
        except BaseException:
            placing._take_back()
            raise

    def part(self, path: Path) -> Path:
        """Where a file is written first."""
        part = self.beside / path.relative_to(self.directory)
        part.parent.mkdir(parents=True, exist_ok=True)
        return part

    def place(self, paths: list[Path]) -> None:
        """Give every file its name, on the disk when this returns."""
        for path in paths:
            self._make_directories(path.parent)
            if os.path.lexists(path):
                raise RestoreFailed(f"{path} came to be meanwhile.", "Choose another directory.")
            os.rename(self.part(path), path)
            self.made.append(path)
        for directory in {path.parent for path in paths} | {self.directory}:
            sync(directory)

    def _make_directories(self, path: Path) -> None:
        missing = []
        while not path.exists():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            self.made.append(directory)

    def _take_back(self) -> None:
        for path in reversed(self.made):
            with suppress(OSError):  # a directory that somebody else uses by now stays
                path.rmdir() if path.is_dir() else path.unlink()
