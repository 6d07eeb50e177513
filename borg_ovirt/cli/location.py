"""`REPO::NAME` as it is typed: a repository, and a VM or archive in it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import click

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


def anything(text: str) -> Location:
    """The type of an argument: a repository, or something in it."""
    return parse(text)


def whole(text: str) -> Location:
    """As `anything`; but what ends in `::` is a name that was lost on the way (a variable without a value).

    Without its name the word would mean the whole repository.
    """
    if text.endswith("::"):
        raise click.BadParameter(f"{text!r} has no name after `::`: write REPO::NAME, or REPO alone.")
    return parse(text)


def named(text: str) -> Location:
    """The type of an argument: something in a repository."""
    target = parse(text)
    if not target.name:
        raise click.BadParameter(f"{text!r} names a repository but nothing in it: write REPO::NAME.")
    return target


def repository(text: str) -> Location:
    """The type of an argument: a repository alone."""
    target = parse(text)
    if target.name:
        raise click.BadParameter(f"{text!r} should be a repository alone, without ::{target.name}.")
    return target


def default_repository() -> Location:
    """What a command works on when no repository is given: BORG_REPO."""
    return parse("::")
