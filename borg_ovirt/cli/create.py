"""`borg-ovirt create`: back up one VM, or all that the configuration selects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli import location, options, overrides
from borg_ovirt.cli.output import Output
from borg_ovirt.cli.telling import told

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config
    from borg_ovirt.config.settings import RepositorySettings
    from borg_ovirt.jobs.backup.create import CreateOptions
    from borg_ovirt.jobs.notify import Story
    from borg_ovirt.jobs.runs.plan import RunPlan
    from borg_ovirt.jobs.selection import Member
    from borg_ovirt.ovirt.session.engine import Engine, EngineAccess


@click.command("create")
@click.argument("where", type=location.whole, nargs=-1, metavar="[REPO::VM ... | REPO ...]")
@overrides.given
@options.repository
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    where: tuple[location.Location, ...],
    given: overrides.CreateOverrides,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    dry_run: bool,
) -> int:
    """Back up VMs: all disks of each at one instant, in one complete archive.

    REPO::VM (a name or an id) is that VM, selected by the configuration or not. Without a VM it is every VM
    that the configuration selects; the one that is longest without a good archive goes first, and none that
    fails stops the others.

    Into one repository or several (A::VM B::VM), named or all of the configuration: each VM is read once and
    stored in each, and a repository that fails does not spoil the others.

    After the first time only what changed is read. Nothing is committed unless every disk is complete.
    Exit status: 0 all well, 1 some warnings, 2 some failed; of a single REPO::VM the number of the cause.
    """
    from borg_ovirt.cli import connect

    config = connect.configuration(output)
    given.check(config)
    order = _Order(config, given, _settings(config, where, repository, given), _vm(where, given))
    access = connect.engine_access(config, engine)
    if dry_run:
        return _preview(output, order, access)
    with told(output, config, "create", active=order.vm is None) as story:
        status = _run(output, order, access, story)
    if config.verify.after_create and order.vm is None:
        from borg_ovirt.cli.verify import after_create

        status = max(status, after_create(output, config, order.repositories, repository, engine))
    return status


@dataclass(frozen=True)
class _Order:
    """A run as it was ordered."""

    config: Config
    given: overrides.CreateOverrides
    repositories: dict[str, RepositorySettings]
    """By the names that the user gave them."""
    vm: str | None
    """The one VM of the command line."""
    known: list[Member] = field(default_factory=list)
    """Every VM of the engine, once it was asked."""

    def members(self, engine: Engine) -> Sequence[Member]:
        """The VMs that it is about."""
        from borg_ovirt.jobs.selection import choose, named

        if self.vm is not None:
            return [named(engine, self.config, self.vm)]
        return choose(self._fleet(engine), self.given.narrowing())

    def selected(self, engine: Engine) -> Sequence[Member]:
        """Those that runs like it are about, whatever --vm and --tag leave of them."""
        from borg_ovirt.jobs.selection import choose

        return choose(self._fleet(engine), replace(self.given.narrowing(), vms=(), tags=()))

    def _fleet(self, engine: Engine) -> list[Member]:
        from borg_ovirt.jobs.selection import fleet

        if not self.known:
            self.known.extend(fleet(engine, self.config))
        return self.known

    def options(self, member: Member) -> CreateOptions:
        """How one of them is backed up."""
        rules = member.settings
        chunk_size = next(iter(self.repositories.values())).chunk_size
        return overrides.create_options(rules.policy, rules.exclude_disks, self.given, chunk_size)


def _vm(where: Sequence[location.Location], given: overrides.CreateOverrides) -> str | None:
    """The VM that the command line names; None when it names only repositories, or nothing."""
    names = {place.name for place in where}
    if len(names) > 1:
        raise click.UsageError(
            "Give REPO::VM, with several repositories the same VM, or repositories without a VM."
        )
    vm = next(iter(names), None)
    if vm is not None:
        given.refuse_narrowing()
    return vm


def _settings(
    config: Config,
    where: Sequence[location.Location],
    repository: options.RepositoryOptions,
    given: overrides.CreateOverrides,
) -> dict[str, RepositorySettings]:
    from borg_ovirt.cli import connect
    from borg_ovirt.errors import UsageError

    names = [place.repo for place in where] or connect.repositories_of(config)
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"The repository {name} is named twice.", "Name each once.")
    places = {name: location.Location(name) for name in names}
    interval = given.checkpoints()
    found = {
        name: connect.repository_of(config, place, repository, given.compression)
        for name, place in places.items()
    }
    if interval is None:
        return found
    return {name: replace(one, checkpoint_interval=interval) for name, one in found.items()}


def _run(output: Output, order: _Order, access: EngineAccess, story: Story) -> int:
    """Run, and say what became of it; a failure of its own is told at the edge of the program."""
    from borg_ovirt.cli.summary import summary, write
    from borg_ovirt.jobs.restore.rollback_state import unfinished
    from borg_ovirt.jobs.runs.hooks import Hooks
    from borg_ovirt.jobs.runs.run import run

    plan = _plan(order)
    for one in unfinished(plan.state):
        output.warn(one.told())
    facts = {"run": plan.run_id, "engine_host": access.host}
    hooks = Hooks(order.config.hooks, facts, output.tell if output.verbose else lambda text: None)
    with output.progress() as progress:
        result = run(plan, access, hooks, progress)
    write(result, story)
    if output.json:
        output.result(result.facts())
    else:
        summary(output, result)
    if isinstance(result.failure, Exception):
        raise result.failure
    return result.exit_status


def _plan(order: _Order) -> RunPlan:
    from datetime import datetime, timezone

    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.runs.plan import RunPlan, window_end
    from borg_ovirt.ovirt.session.engine import new_run_id
    from borg_ovirt.ovirt.tracked.journal import state_dir

    limits = order.given.limits(order.config.limits)
    named = order.vm is not None
    return RunPlan(
        run_id=new_run_id(),
        members=order.members,
        options=order.options,
        repositories=connect.repositories(order.repositories, order.given.stall()),
        state=state_dir(),
        limits=limits,
        until=None if named else window_end(limits.until, datetime.now(timezone.utc)),
        named=named,
        selected=None if named else order.selected,
    )


def _preview(output: Output, order: _Order, access: EngineAccess) -> int:
    """Which VMs a run would take, in which order."""
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.selection import last_good, neediest_first
    from borg_ovirt.ovirt.session.engine import Engine

    with Engine(access) as engine:
        members = order.members(engine)
        here = engine.identity
    good = {}
    for name, settings in order.repositories.items():
        with connect.repository(settings, write=False) as opened:
            good[name] = last_good(opened.archives(), here)
    rows: list[dict[str, Any]] = []
    for member in neediest_first(members, list(good.values())):
        for name, archives in good.items():
            last = archives[member.id].name if member.id in archives else None
            rows.append({"repository": name, "vm": member.name, "vm_id": member.id, "last": last})
    if output.json:
        output.result(rows)
    else:
        columns = ["REPOSITORY", "VM", "LAST GOOD ARCHIVE"]
        output.table(columns, [[row["repository"], row["vm"], row["last"] or "none"] for row in rows])
    return 0
