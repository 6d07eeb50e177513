"""What the command line wishes of a backup, over what the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from borg_ovirt.config.schema import DiskRules as DiskSection
from borg_ovirt.config.schema import Limits, Policy
from borg_ovirt.config.types import Duration, MinFree, Size, TimeOfDay

if TYPE_CHECKING:
    from borg_ovirt.jobs.backup.create import CreateOptions

T = TypeVar("T")
Wishes = Mapping[str, Any]

_UNSUPPORTED = {"warn": "skip", "ignore": "ignore", "refuse": "refuse"}
"""A policy's word for disks that cannot be backed up -> that of the disk rules."""


def create_options(
    policy: Policy, disks: DiskSection, wishes: Wishes, chunk_size: int | None
) -> CreateOptions:
    """How one VM is backed up."""
    from borg_ovirt.blocks import CELL
    from borg_ovirt.jobs.backup.create import CreateOptions
    from borg_ovirt.jobs.backup.disks import DiskRules
    from borg_ovirt.pipe.sample import Sampling

    strict = wishes["strict"] or policy.strict
    chain = (wishes["mode"] or policy.mode) == "chain"
    if not chain and (wishes["no_snapshot"] or wishes["no_wait"]):
        raise click.UsageError("--no-snapshot and --no-wait go with --mode chain.")
    return CreateOptions(
        mode=wishes["mode"] or policy.mode,
        snapshot=not wishes["no_snapshot"],
        wait=not wishes["no_wait"],
        freeze=wishes["freeze"] or policy.freeze,
        backup_api=wishes["backup_api"] or policy.backup_api,
        full=wishes["full"],
        full_every=policy.full_every,
        sampling=Sampling.parse(wishes["sample"]) if wishes["sample"] else Sampling(policy.sample),
        strict=strict,
        rules=DiskRules(
            exclude=(*disks.aliases, *wishes["exclude_disk"]),
            larger_than=disks.larger_than,
            exclude_ids=tuple(disks.ids),
            unsupported=_UNSUPPORTED["refuse" if wishes["strict"] else policy.skipped_disks],
        ),
        readers=wishes["readers"] or policy.readers,
        cell=_read(wishes, "chunk_size", Size) or chunk_size or CELL,
    )


def limits(configured: Limits, wishes: Wishes) -> Limits:
    """What a whole run may take."""
    given: dict[str, Any] = {
        "until": _read(wishes, "until", TimeOfDay),
        "rate_limit": _read(wishes, "rate_limit", Size),
        "min_free": _read(wishes, "min_free", MinFree),
    }
    return configured.model_copy(update={name: value for name, value in given.items() if value is not None})


def repo_stall(wishes: Wishes) -> float:
    """Seconds that one of several repositories may keep the others waiting."""
    span: timedelta = _read(wishes, "repo_stall", Duration)
    if not span:
        raise click.BadParameter("must be longer than nothing", param_hint="--repo-stall")
    return span.total_seconds()


def _read(wishes: Wishes, name: str, kind: Any) -> Any:
    """A value of the command line, read as the configuration reads it."""
    text = wishes[name]
    if text is None:
        return None
    return parsed(TypeAdapter(kind).validate_python, text, f"--{name.replace('_', '-')}")


def parsed(parse: Callable[[str], T], text: str, option: str) -> T:
    """What an option's text means; a mistake names the option."""
    try:
        return parse(text)
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error", error.errors()[0]["msg"])
        raise click.BadParameter(str(cause), param_hint=option) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
