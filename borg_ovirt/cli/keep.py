"""The rules of retention on the command line: --keep-within, --keep-last, --keep-daily ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli import options

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Retention


@dataclass(frozen=True)
class KeepOptions:
    """The rules of the command line; None where it gives none."""

    keep_within: str | None = None
    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None

    def retention(self, gone: str | None = None) -> Retention | None:
        """The rules as the configuration would have them, and that for gone VMs; None when there are none."""
        from borg_ovirt.cli.overrides import parsed
        from borg_ovirt.config.schema import Retention

        given = {name.removeprefix("keep_"): value for name, value in vars(self).items() if value is not None}
        if gone is not None and not given:
            raise click.UsageError("--gone alone says nothing about the other VMs: add --keep-... options.")
        if gone is not None:
            given["gone_vms"] = gone
        return parsed(lambda _: Retention.model_validate(given), "", "--keep-...") if given else None


def _count(period: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--keep-{period}", type=click.IntRange(0), metavar="N", help=text)


keep_rules = options.bundle(
    "keep",
    KeepOptions,
    click.option("--keep-within", metavar="SPAN", help="Everything younger: 2d, 4w."),
    _count("last", "The newest N."),
    _count("hourly", "The last of each of N hours."),
    _count("daily", "The last of each of N days."),
    _count("weekly", "The last of each of N weeks."),
    _count("monthly", "The last of each of N months."),
    _count("yearly", "The last of each of N years."),
)
