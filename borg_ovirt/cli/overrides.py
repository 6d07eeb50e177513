"""What the command line of `create` says of a run, over what the configuration says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from borg_ovirt.cli import options

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config, Limits, Policy
    from borg_ovirt.config.schema import DiskRules as DiskSection
    from borg_ovirt.jobs.backup.create import CreateOptions
    from borg_ovirt.jobs.selection import Narrowing
    from borg_ovirt.pipe.sample import Sampling

T = TypeVar("T")

_UNSUPPORTED = {"warn": "skip", "ignore": "ignore", "refuse": "refuse"}
"""A policy's word for disks that cannot be backed up -> that of the disk rules."""


@dataclass(frozen=True)
class CreateOverrides:
    """As it was typed; None or nothing leaves it to the configuration."""

    vm: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    shard: str | None = None
    until: str | None = None
    rate_limit: str | None = None
    min_free: str | None = None
    captures: int | None = None
    mode: str | None = None
    full: bool = False
    freeze: str | None = None
    backup_api: str | None = None
    no_snapshot: bool = False
    no_wait: bool = False
    sample: str | None = None
    readers: int | None = None
    exclude_disk: tuple[str, ...] = ()
    strict: bool = False
    chunk_size: str | None = None
    compression: str | None = None
    checkpoint_interval: str | None = None
    repo_stall: str = "5m"

    def narrowing(self) -> Narrowing:
        """Of the selected VMs only these."""
        from borg_ovirt.jobs.selection import Narrowing, parse_shard

        shard = parsed(parse_shard, self.shard, "--shard") if self.shard is not None else None
        return Narrowing(self.vm, self.tag, shard)

    def refuse_narrowing(self) -> None:
        """What chooses among VMs, or says when one is too late, says nothing of one that is named."""
        for name in ("vm", "tag", "shard", "until", "captures"):
            if getattr(self, name):
                raise click.UsageError(f"--{name} is for runs over the configuration: REPO::VM names its VM.")

    def limits(self, configured: Limits) -> Limits:
        """What a whole run may take."""
        given: dict[str, Any] = {
            "until": read(self.until, "TimeOfDay", "--until"),
            "rate_limit": read(self.rate_limit, "Size", "--rate-limit"),
            "min_free": read(self.min_free, "MinFree", "--min-free"),
            "captures": self.captures,
        }
        return configured.model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )

    def stall(self) -> float:
        """Seconds that one of several repositories may keep the others waiting."""
        span: timedelta = read(self.repo_stall, "Duration", "--repo-stall")
        if not span:
            raise click.BadParameter("must be longer than nothing", param_hint="--repo-stall")
        return span.total_seconds()

    def checkpoints(self) -> float | None:
        """Seconds between two checkpoints of an archive, 0 for none."""
        span: timedelta | None = read(self.checkpoint_interval, "Duration", "--checkpoint-interval")
        return None if span is None else span.total_seconds()

    def sampling(self) -> Sampling | None:
        """Unchanged blocks to read all the same."""
        from borg_ovirt.pipe.sample import Sampling

        return parsed(Sampling.parse, self.sample, "--sample") if self.sample else None

    def cell(self) -> int | None:
        """Size of a grid cell, in bytes, for a VM without archives."""
        size: int | None = read(self.chunk_size, "Size", "--chunk-size")
        return size

    def check(self, config: Config) -> None:
        """Refuse nonsense, and what means nothing, before anybody is asked anything."""
        policies = [config.policy, *(override.policy for override in config.overrides)]
        chains = "chain" in ([self.mode] if self.mode else [policy.mode for policy in policies])
        if (self.no_snapshot or self.no_wait) and not chains:
            raise click.UsageError("--no-snapshot and --no-wait go with --mode chain.")
        self.narrowing()
        self.limits(config.limits)
        self.stall()
        self.checkpoints()
        self.sampling()
        self.cell()


def create_options(
    policy: Policy, disks: DiskSection, given: CreateOverrides, chunk_size: int | None
) -> CreateOptions:
    """How one VM is backed up."""
    from borg_ovirt.blocks import CELL
    from borg_ovirt.jobs.backup.create import CreateOptions
    from borg_ovirt.jobs.backup.disks import DiskRules
    from borg_ovirt.pipe.sample import Sampling

    return CreateOptions(
        mode=given.mode or policy.mode,
        snapshot=not given.no_snapshot,
        wait=not given.no_wait,
        freeze=given.freeze or policy.freeze,
        backup_api=given.backup_api or policy.backup_api,
        lock_limit=policy.lock_limit,
        full=given.full,
        full_every=policy.full_every,
        sampling=given.sampling() or Sampling(policy.sample),
        strict=given.strict or policy.strict,
        expect=frozenset(policy.expect),
        rules=DiskRules(
            exclude=(*disks.aliases, *given.exclude_disk),
            larger_than=disks.larger_than,
            exclude_ids=tuple(disks.ids),
            unsupported=_UNSUPPORTED["refuse" if given.strict else policy.skipped_disks],
        ),
        readers=given.readers or policy.readers,
        cell=given.cell() or chunk_size or CELL,
    )


def parsed(parse: Callable[[str], T], text: str, option: str) -> T:
    """What an option's text means; a mistake names the option."""
    from pydantic import ValidationError

    try:
        return parse(text)
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error", error.errors()[0]["msg"])
        raise click.BadParameter(str(cause), param_hint=option) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def read(text: str | None, kind: str, option: str) -> Any:
    """A value of the command line, read as the configuration reads it."""
    if text is None:
        return None
    from pydantic import TypeAdapter

    from borg_ovirt.config import types

    return parsed(TypeAdapter(getattr(types, kind)).validate_python, text, option)


given = options.bundle(
    "given",
    CreateOverrides,
    click.option(
        "--vm", multiple=True, metavar="VM", help="Of the selected VMs only these: name, glob or id."
    ),
    click.option("--tag", multiple=True, metavar="TAG", help="Of the selected VMs only those with this tag."),
    click.option("--shard", metavar="I/N", help="Part I of N of the VMs, by their ids."),
    click.option("--until", metavar="HH:MM", help="Start no VM after this time of day."),
    click.option("--captures", type=click.IntRange(1, 32), help="VMs under way at a time."),
    click.option("--rate-limit", metavar="SIZE", help="Bytes per second that all disks together read."),
    click.option("--min-free", metavar="ROOM", help="Room that storage domains must keep: 10%, 20GiB, or 0."),
    click.option(
        "--mode",
        type=click.Choice(["image", "chain"]),
        help="image: the disks as they are. chain: with all their snapshots, layer by layer.",
    ),
    click.option("--full", is_flag=True, help="Read everything, whatever changed."),
    click.option(
        "--freeze",
        type=click.Choice(["auto", "require", "never"]),
        help="File systems in the guest: freeze them if the agent can (auto), or refuse, or never.",
    ),
    click.option(
        "--backup-api",
        type=click.Choice(["auto", "live"]),
        help="auto: by what it holds up. live: never the hybrid backup, which works through a snapshot.",
    ),
    click.option(
        "--no-snapshot",
        is_flag=True,
        help="Chain mode: no temporary snapshot; only what is frozen, or rests.",
    ),
    click.option(
        "--no-wait", is_flag=True, help="Chain mode: leave the merge of that snapshot to the engine."
    ),
    click.option(
        "--sample", metavar="SHARE", help="Unchanged blocks to read all the same: 0.1%, 5%, 0 or all."
    ),
    click.option("--readers", type=click.IntRange(1, 8), help="Connections that read one disk at a time."),
    click.option(
        "--exclude-disk",
        multiple=True,
        metavar="DISK",
        help="Leave out a disk: id, alias, or glob of aliases.",
    ),
    click.option(
        "--strict", is_flag=True, help="Refuse a VM with disks that cannot be backed up; warn of less."
    ),
    click.option("--chunk-size", metavar="SIZE", help="Of a VM's first archive; later ones keep it."),
    click.option("--compression", "-C", metavar="SPEC", help="As for borg: none, lz4, zstd,3 ..."),
    click.option(
        "--checkpoint-interval",
        metavar="TIME",
        help="Keep what is stored so often, so that an interrupted run need not send it again (30m).",
    ),
    click.option(
        "--repo-stall",
        default="5m",
        show_default=True,
        metavar="TIME",
        help="Several repositories: go on without one that keeps the others waiting so long.",
    ),
)
"""Options of `create` that say what is backed up, and how."""
