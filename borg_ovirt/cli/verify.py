"""`borg-ovirt verify`: prove archives, and say so on each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.audit import Deed, tell_engine
from borg_ovirt.cli.output import Output, local_time
from borg_ovirt.cli.telling import told
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING, ArchiveUnsound
from borg_ovirt.units import format_duration, format_size

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config
    from borg_ovirt.jobs.notify import Story
    from borg_ovirt.jobs.proof.due import Due
    from borg_ovirt.jobs.proof.verify import VerifyOptions, VerifyResult
    from borg_ovirt.jobs.restore.restore import Destination
    from borg_ovirt.progress import Progress
    from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class Asked:
    """What the command line asks; None leaves it to the configuration."""

    level: str | None = None
    most: int | None = None
    budget: str | None = None
    until: str | None = None
    check_repository: str | None = None
    storage_domain: str | None = None
    work_dir: Path | None = None
    local: bool = False
    expect_line: str | None = None
    expect_port: int | None = None
    boot_timeout: str = "10m"

    def options(self, config: Config) -> VerifyOptions:
        """What the run may take."""
        from borg_ovirt.cli.overrides import read
        from borg_ovirt.jobs.proof.booting import BootOptions
        from borg_ovirt.jobs.proof.verify import VerifyOptions
        from borg_ovirt.jobs.runs.plan import window_end

        rules = config.verify
        until = read(self.until, "TimeOfDay", "--until") or rules.until
        return VerifyOptions(
            budget=rules.budget if self.budget is None else read(self.budget, "Duration", "--budget"),
            until=window_end(until, datetime.now(timezone.utc)),
            most=self.most or rules.per_run,
            work_dir=self.work_dir,
            storage_domain=self.storage_domain or rules.storage_domain,
            boot=BootOptions(
                read(self.boot_timeout, "Duration", "--boot-timeout"),
                self.local,
                self.expect_line,
                self.expect_port,
            ),
        )

    def check(self) -> None:
        """Refuse what means nothing."""
        signs = (self.expect_line is not None) + (self.expect_port is not None)
        if self.local and (self.level != "boot" or signs != 1):
            raise click.UsageError("--local goes with --level boot, and --expect-line or --expect-port.")
        if signs and not self.local:
            raise click.UsageError("--expect-line and --expect-port go with --local.")


@click.command("verify")
@click.argument("where", type=location.whole, nargs=-1, metavar="[REPO | REPO::NAME] ...")
@options.bundle(
    "asked",
    Asked,
    click.option(
        "--level",
        type=click.Choice(["structure", "data", "content", "restore", "boot"]),
        help="What to prove, whatever policy.verify says; each level takes in those before it.",
    ),
    click.option("--most", type=click.IntRange(1), metavar="N", help="So many archives at most."),
    click.option("--budget", metavar="SPAN", help="Stop reading after this time; the next run goes on."),
    click.option("--until", metavar="HH:MM", help="Stop reading at this time of day."),
    click.option(
        "--check-repository",
        metavar="SPAN",
        help="Let Borg check the repository's files for so long, from where it stopped last.",
    ),
    click.option("--storage-domain", metavar="DOMAIN", help="Level restore: where scratch disks are made."),
    click.option(
        "--work-dir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Where the layers of chains are staged.",
    ),
    click.option("--local", is_flag=True, help="Level boot: in QEMU on this machine, without an engine."),
    click.option("--expect-line", metavar="TEXT", help="With --local: the guest's serial line says so."),
    click.option(
        "--expect-port",
        type=click.IntRange(1, 65535),
        metavar="PORT",
        help="Or: it listens there (TCP).",
    ),
    click.option(
        "--boot-timeout", default="10m", show_default=True, metavar="SPAN", help="How long a guest may take."
    ),
)
@options.repository
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    where: tuple[location.Location, ...],
    asked: Asked,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    dry_run: bool,
) -> int:
    """Prove archives, those that were not proven for longest first, and stamp the result on each.

    NAME is an archive, or a VM (its latest archive), and is proven whenever it was proven last. Without one
    it is all that is due by `policy.verify`, or with --level all of the repository.

    structure: manifest, OVF, items and chunks are there. data: every byte is read, decrypted, hashed.
    content: partition tables and file systems agree with themselves, and `qemu-img check` passes on chains.
    restore: each disk is restored into the engine, proven there, and removed again.
    boot: a scratch VM without network cards starts in the engine, its guest agent speaks, it is removed; with
    --local QEMU runs it here from the repository, until it says --expect-line or listens on --expect-port.

    An archive that fails is no base of a backup, and is not counted as the newest good one. Exit status: 0
    all well, 1 some could not be looked at, 37 one failed.
    """
    from borg_ovirt.cli import connect

    asked.check()
    config = connect.configuration(output)
    places: dict[str, list[str]] = {}
    for place in where or [location.Location(name) for name in connect.repositories_of(config)]:
        places.setdefault(place.repo, []).extend([place.name] if place.name else [])
    with told(output, config, "verify", active=not (where or dry_run)) as story:
        results = _prove(output, config, places, asked, repository, engine, dry_run)
        _write(results, story)
        if not dry_run:
            tell_engine(output, config, engine, _deeds(results))
        return _tell(output, results, dry_run, json=output.json)


def after_create(
    output: Output,
    config: Config,
    repositories: Iterable[str],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
) -> int:
    """What is due by the policy, at the end of a run of `create`; the run's JSON stays the only one."""
    places: dict[str, list[str]] = {name: [] for name in repositories}
    with told(output, config, "verify") as story:
        results = _prove(output, config, places, Asked(), repository, engine, dry_run=False)
        _write(results, story)
        tell_engine(output, config, engine, _deeds(results))
        return _tell(output, results, dry_run=False, json=False)


def _deeds(results: dict[str, Any]) -> Iterator[Deed]:
    """For the engine's log: what was proven, and what failed."""
    for name, one in results.items():
        for line in one["result"].lines:
            what = f"Archive {line.archive} of VM {line.vm} in {name}"
            if line.verdict == "passed":
                yield Deed(f"{what} passed its proof ({line.level}).", line.vm_id, line.engine)
            elif line.verdict == "failed":
                text = f"{what} failed its proof ({line.level}): {line.note}"
                yield Deed(text, line.vm_id, line.engine, "error")


def _write(results: dict[str, Any], story: Story) -> None:
    """The run as it is told to people."""
    story.repositories = list(results)
    found: list[VerifyResult] = [one["result"] for one in results.values()]
    story.summary = " ".join(_counted(result) for result in found)
    lines = [line for result in found for line in result.lines]
    for line in lines:
        if line.verdict == "failed":
            story.fail(f"{line.archive} failed its proof ({line.level}): {line.note}")
        elif line.verdict == "not proven":
            story.warn(f"{line.archive} could not be proven: {line.note}")
        story.warn(*(f"{line.archive}: {doubt}" for doubt in line.doubts))
    for name, one in results.items():
        if one["check"] is not None and not one["check"].sound:
            story.fail(f"Borg finds files of {name} faulty")


def _prove(
    output: Output,
    config: Config,
    places: dict[str, list[str]],
    asked: Asked,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    dry_run: bool,
) -> dict[str, Any]:
    """What was found in each repository."""
    from borg_ovirt.cli import connect

    plan = asked.options(config)
    results: dict[str, Any] = {}
    with output.progress() as progress, ExitStack() as stack:
        for repo, names in places.items():
            settings = connect.repository_of(config, location.Location(repo), repository)
            with connect.repository(settings, write=not dry_run) as opened:
                wanted = _wanted(opened, config, names, asked.level)
                into = None
                needs = {"restore"} if asked.local else {"restore", "boot"}
                if any(one.level in needs for one in wanted) and not dry_run:
                    into = stack.enter_context(_destination(connect.engine_access(config, engine), progress))
                results[repo] = _verify(opened, wanted, plan, into, progress, dry_run)
                results[repo]["check"] = _check(opened, config, asked, progress, dry_run)
    return results


def _wanted(opened: Repository, config: Config, names: list[str], level: Any) -> list[Due]:
    from borg_ovirt.jobs.archives.find import find_archive
    from borg_ovirt.jobs.proof.due import Due, Wish, by_policy, due

    now = datetime.now(timezone.utc)
    wish = by_policy(config, lambda info: opened.archive(info.name).manifest.vm)
    if not names:
        if level is not None:
            return due(opened.series(now), lambda _: Wish(level), now)
        found = due(opened.series(now), wish, now)
        written = [config.policy, *(override.policy for override in config.overrides)]
        if not found and all(policy.verify.level == "none" for policy in written):
            raise click.UsageError("Nothing says what to prove: give --level, or write policy.verify.")
        return found
    chosen = []
    for info in dict.fromkeys(find_archive(opened, name) for name in names):
        (series,) = (s for s in opened.series(now) if info.name in s.times)
        by_rule = wish(series)
        chosen.append(Due(info, level or (by_rule.level if by_rule else "data"), None))
    return chosen


def _verify(
    opened: Repository,
    wanted: list[Due],
    plan: VerifyOptions,
    into: Destination | None,
    progress: Progress,
    dry_run: bool,
) -> dict[str, Any]:
    from borg_ovirt.jobs.proof.verify import verify

    return {"result": verify(opened, wanted, plan, into, progress, dry_run=dry_run)}


def _check(opened: Repository, config: Config, asked: Asked, progress: Progress, dry_run: bool) -> Any:
    from borg_ovirt.cli.overrides import read
    from borg_ovirt.jobs.proof.checked import check
    from borg_ovirt.ovirt.tracked.journal import state_dir

    span = read(asked.check_repository, "Duration", "--check-repository") or config.verify.check_repository
    if not span or dry_run:
        return None
    progress.step(f"{opened.location}: Borg checks its files")
    return check(opened, span, state_dir())


@contextmanager
def _destination(access: Any, progress: Progress) -> Iterator[Destination]:
    """The engine that scratch disks are made in."""
    from borg_ovirt.jobs.restore.restore import Destination
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal_for_restore
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    with (
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
    ):
        heal_for_restore(ovirt, state_dir(), progress.step)
        yield Destination(ovirt, journal)


def _tell(output: Output, results: dict[str, Any], dry_run: bool, *, json: bool) -> int:
    """Show it; an archive that failed ends the command with its own status."""
    if json:
        told = {name: {**_plain(one["result"]), "check": one["check"]} for name, one in results.items()}
        output.result({"dry_run": dry_run, "repositories": told})
    elif not output.json:
        for name, one in results.items():
            _show(output, name, one["result"])
    found: list[VerifyResult] = [one["result"] for one in results.values()]
    failed = [line for result in found for line in result.lines if line.verdict == "failed"]
    faulty = [name for name, one in results.items() if one["check"] is not None and not one["check"].sound]
    if failed:
        raise ArchiveUnsound(
            f"{len(failed)} archives failed their proof: {', '.join(line.archive for line in failed)}.",
            "No backup builds on them. Run `borg check --verify-data` on the repository (docs/proof.md).",
        )
    if faulty:
        raise ArchiveUnsound(
            f"Borg finds files of {', '.join(faulty)} faulty: the messages above tell which.",
            "Run `borg check` on it, and see docs/proof.md.",
        )
    doubtful = any(result.count("not proven") for result in found)
    doubtful = doubtful or any(line.doubts for result in found for line in result.lines)
    return EXIT_WARNING if doubtful else EXIT_OK


def _plain(result: VerifyResult) -> dict[str, Any]:
    lines = [{**vars(line), "rotten": [id_.hex() for id_ in line.rotten]} for line in result.lines]
    return {**vars(result), "lines": lines}


def _show(output: Output, name: str, result: VerifyResult) -> None:
    output.lines(f"{name}:")
    output.table(
        ["ARCHIVE", "VM", "LEVEL", "", "TOOK", "NOTES"],
        [
            [
                line.archive,
                line.vm,
                line.level,
                line.verdict.upper() if line.verdict == "failed" else line.verdict,
                format_duration(line.seconds) if line.seconds else "",
                "; ".join([line.note, *line.doubts])
                or (f"last proven {local_time(line.last)}" if line.last else ""),
            ]
            for line in result.lines
        ],
    )
    output.lines(_counted(result))


def _counted(result: VerifyResult) -> str:
    words = ("passed", "failed", "under way", "not proven", "due")
    counted = ", ".join(f"{result.count(word)} {word}" for word in words if result.count(word))
    left = f", {result.left} left for the next run" if result.left else ""
    read = f"; {format_size(result.bytes_read)} read" if result.bytes_read else ""
    return f"{counted or 'nothing is due'}{left}{read}."
