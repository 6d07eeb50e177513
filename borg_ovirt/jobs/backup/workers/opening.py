"""Opens a repository as its `Spec` says, in whatever process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from borg_ovirt.jobs.backup.workers.messages import Spec
from borg_ovirt.redact import remember
from borg_ovirt.repository.open import Repository, open_repository
from borg_ovirt.repository.passphrase import handed_over


@contextmanager
def open_spec(spec: Spec, *, write: bool = True) -> Iterator[Repository]:
    """The repository, open and locked."""
    opening = open_repository(
        spec.location,
        write=write,
        lock_wait=spec.lock_wait,
        compression=spec.compression,
        remote_path=spec.remote_path,
        rsh=spec.rsh,
        upload_limit=spec.upload_limit,
        checkpoint_interval=spec.checkpoint_interval,
    )
    if spec.passphrase is not None:
        remember(spec.passphrase)
    with ExitStack() as stack:
        # No longer than it opens: another repository may have another one.
        with handed_over(spec.passphrase) if spec.passphrase is not None else nullcontext():
            repository = stack.enter_context(opening)
        yield repository
