"""One backup of one VM, in the mode that its options ask for."""

from __future__ import annotations

from borg_ovirt.errors import UsageError
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult, create
from borg_ovirt.jobs.backup.create_chain import ChainOptions, create_chain
from borg_ovirt.jobs.backup.stores import SingleStore, Store
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress


def back_up(
    store: Store,
    engine: Engine,
    vm_name: str,
    options: CreateOptions,
    journal: Journal,
    progress: Progress,
) -> CreateResult:
    """Make one archive of one VM in an open repository: its disks at one instant, or its snapshot chains."""
    if isinstance(options, ChainOptions):
        if not isinstance(store, SingleStore):
            raise UsageError("Snapshot chains go into one repository at a time.", "Leave out --mode chain.")
        return create_chain(store.repository, engine, vm_name, options, journal, progress)
    return create(store, engine, vm_name, options, journal, progress)
