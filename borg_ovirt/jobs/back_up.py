"""One backup of one VM, in the mode that its options ask for."""

from __future__ import annotations

from borg_ovirt.jobs.create import CreateOptions, CreateResult, create
from borg_ovirt.jobs.create_chain import ChainOptions, create_chain
from borg_ovirt.ovirt.engine import Engine
from borg_ovirt.ovirt.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository


def back_up(
    repository: Repository,
    engine: Engine,
    vm_name: str,
    options: CreateOptions,
    journal: Journal,
    progress: Progress,
) -> CreateResult:
    """Make one archive of one VM in an open repository: its disks at one instant, or its snapshot chains."""
    if isinstance(options, ChainOptions):
        return create_chain(repository, engine, vm_name, options, journal, progress)
    return create(repository, engine, vm_name, options, journal, progress)
