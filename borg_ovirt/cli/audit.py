"""What a command did to archives and VMs, told in the engine's own log. It never fails a command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from borg_ovirt.cli.output import Output

if TYPE_CHECKING:
    from borg_ovirt.cli.options import EngineOptions
    from borg_ovirt.config.schema import Config
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.repository.catalogue import ArchiveInfo

_ABSENT = 5.0
"""Seconds that an engine may be away: what was done is done, whether its log takes it or not."""


@dataclass(frozen=True)
class Deed:
    """One line of the log, about a VM of the engine of that host."""

    text: str
    vm_id: str
    engine: str
    severity: str = "normal"

    @classmethod
    def of(cls, info: ArchiveInfo, did: str, severity: str = "normal") -> Deed:
        """What became of an archive."""
        text = f"Archive {info.name} of VM {info.comment.vm_name} {did}."
        return cls(text, info.comment.vm_id, info.comment.engine, severity)


def post(engine: Engine, deeds: Iterable[Deed], output: Output) -> None:
    """Into the log of an engine that is open: those about its own VMs."""
    from borg_ovirt.jobs.runs.audit import Audit

    audit = Audit(engine, output.warn)
    for deed in deeds:
        if deed.engine == engine.host:
            audit.note(deed.text, deed.severity, deed.vm_id)


def tell_engine(output: Output, config: Config, given: EngineOptions, deeds: Iterable[Deed]) -> None:
    """The same in a session of its own; nothing where no engine is known, or its password is not."""
    from borg_ovirt.cli import connect
    from borg_ovirt.errors import BorgOvirtError
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.session.waiting import Patience

    deeds = list(deeds)
    if not deeds:
        return
    try:
        access = connect.engine_access_unasked(config, given)
        if access is None or not any(deed.engine == access.host for deed in deeds):
            return
        with Engine(access, patience=Patience(engine=_ABSENT, hiccup=_ABSENT)) as engine:
            post(engine, deeds, output)
    except BorgOvirtError as error:
        output.tell(f"the engine's log was not told: {error.message}")


@contextmanager
def audited(engine: Engine, output: Output, what: str) -> Iterator[Callable[[str, str | None], None]]:
    """Around a job on an engine that is open: its failure is a line of the log, and what it says is, with the
    id of the VM that it is about."""
    from borg_ovirt.errors import EngineUnreachable
    from borg_ovirt.jobs.runs.audit import Audit
    from borg_ovirt.jobs.runs.outcome import in_words

    audit = Audit(engine, output.warn)
    try:
        yield lambda text, vm_id: audit.note(text, "normal", vm_id)
    except EngineUnreachable:
        raise  # so is its log
    except (Exception, KeyboardInterrupt) as error:
        audit.note(f"{what} failed: {in_words(error)}", "error", None)
        raise
