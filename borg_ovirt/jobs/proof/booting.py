"""Level boot, in the engine: a scratch VM without network cards starts, and its guest agent speaks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from borg_ovirt.errors import ProofFailed, RestoreBlocked, Timeout
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.restore import Destination, restore
from borg_ovirt.ovirt.facts.vm import guest_agent, vm_status
from borg_ovirt.ovirt.make.machines import start_vm
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository

DOWN = "down"


@dataclass(frozen=True)
class BootOptions:
    """How long a guest may take, and how it is told that it is there."""

    patience: timedelta = timedelta(minutes=10)
    here: bool = False
    """In QEMU on this machine, from the repository, without any engine."""
    line: str | None = None
    """Here: on its first serial line the guest writes this."""
    port: int | None = None
    """Here: the guest listens on this TCP port."""


def boot_in_engine(
    repository: Repository,
    name: str,
    destination: Destination,
    domain: str | None,
    work_dir: Path | None,
    boot: BootOptions,
    progress: Progress,
) -> str:
    """Returns what the agent said of its system. A guest that goes down raises `ProofFailed`, and so does one
    that is silent, if this archive was made only because its agent froze the disks (`freeze: require`). Of
    any other nobody knows whether it has an agent, and `RestoreBlocked` says so.
    """
    manifest = repository.archive(name).manifest
    engine = destination.engine
    told: list[str] = []

    def trial(vm_id: str) -> None:
        def probe() -> str | None:
            if vm_status(engine, vm_id) == DOWN:
                raise ProofFailed(f"the VM of {name} started, and went down")
            return guest_agent(engine, vm_id)

        progress.step(f"{name}: starting a scratch VM")
        start_vm(engine, vm_id, scratch_name)
        seconds = boot.patience.total_seconds()
        try:
            told.append(engine.patience.wait("a guest agent", probe, seconds))
        except Timeout:
            silent = f"no guest agent spoke within {seconds:.0f} s"
            if manifest.run.consistency_asked == "require":
                raise ProofFailed(silent) from None
            raise RestoreBlocked(f"{silent}: does the guest have one?") from None

    scratch_name = f"borg-ovirt-proof-{uuid.uuid4().hex[:8]}"
    options = RestoreOptions(
        name=scratch_name,
        storage_domains={"": domain} if domain else {},
        without_nics=True,
        no_tags=True,
        flatten=manifest.mode == "chain",
        work_dir=work_dir,
    )
    restore(repository, name, options, destination, progress, scratch=True, trial=trial)
    return told[0]
