"""`REPO::NAME` as it is typed: a repository, and a VM or archive in it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# `::` between brackets belongs to an IPv6 address: ssh://[2001:db8::1]/srv/repo
_BRACKETS = re.compile(r"\[[^\]/]*\]")


@dataclass(frozen=True)
class Location:
    """What the user pointed at. `repo` is a location, or the name of a repository in the configuration."""

    repo: str
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}::{self.name}" if self.name else self.repo


def parse(text: str) -> Location:
    """Split at the last `::` that can part a repository from a name; a name holds neither `/` nor `::`.

    An empty repository means BORG_REPO. Raises `click.UsageError` when there is none.
    """
    masked = _BRACKETS.sub(lambda match: "x" * len(match[0]), text)
    cut = masked.rfind("::")
    name = text[cut + 2 :] if cut >= 0 else ""
    if cut < 0 or "/" in name:
        repo, name = text, ""
    else:
        repo = text[:cut]
    repo = repo or os.environ.get("BORG_REPO", "")
    if not repo:
        raise click.UsageError("No repository: give REPO::NAME, or ::NAME with BORG_REPO set.")
    return Location(repo, name or None)


class Kind(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # of click 8.2 on
    """The type of an argument that points somewhere; a function of the same name reads its text."""

    def __init__(self, read: Callable[[str], Location], name_needed: bool | None) -> None:
        self.name = read.__name__
        self._read = read
        self._name_needed = name_needed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        """Read it; what was read already stays."""
        return value if isinstance(value, Location) else self._read(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What fits."""
        from borg_ovirt.cli import complete

        return complete.location(ctx, param, incomplete, name=self._name_needed)


def _kind(name_needed: bool | None) -> Callable[[Callable[[str], Location]], Kind]:
    """Whether something in the repository must be named; None: it must not."""
    return lambda read: Kind(read, name_needed)


@_kind(name_needed=False)
def anything(text: str) -> Location:
    """The type of an argument: a repository, or something in it."""
    return parse(text)


@_kind(name_needed=False)
def whole(text: str) -> Location:
    """As `anything`; but what ends in `::` is a name that was lost on the way (a variable without a value).

    Without its name the word would mean the whole repository.
    """
    if text.endswith("::"):
        raise click.BadParameter(f"{text!r} has no name after `::`: write REPO::NAME, or REPO alone.")
    return parse(text)


@_kind(name_needed=True)
def named(text: str) -> Location:
    """The type of an argument: something in a repository."""
    return _with_name(parse(text))


def _with_name(target: Location) -> Location:
    if not target.name:
        raise click.BadParameter(f"{target.repo!r} names a repository but nothing in it: write REPO::NAME.")
    return target


class _Unsaid(click.Argument):
    """An argument that is taken, though no usage line names it."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        return []


def inside(argument: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """Completes what is in the repository that another argument names."""

    def found(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from borg_ovirt.cli import complete

        return complete.inside_of(context, argument, incomplete)

    return found


def one(metavar: str = "REPO::NAME", *, name_needed: bool = True) -> Callable[[Any], Any]:
    """The argument `archive`: something in a repository. `REPO NAME` is taken as well as REPO::NAME."""

    def decorate(body: Callable[..., int]) -> Any:
        @functools.wraps(body)
        def joined(*args: Any, archive: Location, apart: str | None, **values: Any) -> int:
            if apart and archive.name:
                raise click.UsageError(f"{archive} and {apart} are two: name one.")
            target = Location(archive.repo, apart) if apart else archive
            return body(*args, archive=_with_name(target) if name_needed else target, **values)

        second = click.argument("apart", required=False, cls=_Unsaid, shell_complete=inside("archive"))
        kind = Kind(parse, name_needed)
        return click.argument("archive", type=kind, metavar=metavar)(second(joined))

    return decorate


@_kind(name_needed=None)
def repository(text: str) -> Location:
    """The type of an argument: a repository alone."""
    target = parse(text)
    if target.name:
        raise click.BadParameter(f"{text!r} should be a repository alone, without ::{target.name}.")
    return target


def default_repository() -> Location:
    """What a command works on when no repository is given: BORG_REPO."""
    return parse("::")
