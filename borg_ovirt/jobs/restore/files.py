"""Single files out of the file systems of an archived disk, through guestfish on the served disks.

libguestfs reads the guest's file systems in a small VM of its own: read-only, without root, and no kernel of
ours is asked to mount what an archive holds. It runs as a program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.restore.options import FilesOptions, ServeOptions
from borg_ovirt.jobs.restore.serve import serve
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository


def need_guestfish() -> str:
    """The program; `RestoreBlocked` names its package."""
    found = shutil.which("guestfish")
    if found is None:
        raise RestoreBlocked(
            "Single files need libguestfs: install libguestfs-tools (Debian: guestfish; EL: guestfs-tools).",
            "Or look at the disks with `borg-ovirt serve`.",
        )
    return found


def files(
    repository: Repository, name: str, path: str | None, options: FilesOptions, progress: Progress
) -> list[str]:
    """The file systems (without a path), what a path holds, or what was copied from it."""
    guestfish = need_guestfish()
    target = None
    if path is not None and options.directory is not None:
        target = options.directory / PurePosixPath(path).name
        if os.path.lexists(target):
            raise RestoreBlocked(f"{target} exists already.", "Choose another directory.")
        options.directory.mkdir(parents=True, exist_ok=True)
    with _opened(repository, name, options, progress) as drives:
        command = [guestfish, "--ro", "--format=raw", *drives]
        if path is None:
            return _run([*command, "run", ":", "list-filesystems"])
        where = ["-m", options.mount] if options.mount else ["-i"]
        if options.directory is None:
            return _run([*command, *where, "ll", path])
        _run([*command, *where, "copy-out", path, str(options.directory)])
        return [str(target)]


@contextmanager
def _opened(
    repository: Repository, name: str, options: FilesOptions, progress: Progress
) -> Iterator[Sequence[str]]:
    """The disks as guestfish takes them, in the order of the archive."""
    with tempfile.TemporaryDirectory(prefix="borg-ovirt-") as place:
        serving = ServeOptions(disks=options.disks, snapshot=options.snapshot, socket_dir=Path(place))
        with serve(repository, name, serving, progress) as served:
            yield [
                word
                for export in served.exports
                for word in ("-a", f"nbd://?socket={export.uri.partition('socket=')[2]}")
            ]


def _run(command: Sequence[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise RestoreFailed(f"guestfish could not read that: {words}")
    return done.stdout.splitlines()
