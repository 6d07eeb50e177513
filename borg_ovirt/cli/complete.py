"""What fits where somebody pressed the tabulator: repositories, and what is in them.

Nobody waits and nobody is asked: names are read where no passphrase has to be asked for or fetched by a
command, without a lock, from this machine alone, and for a moment only. Where that does not do, nothing is
offered.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    shell_complete,
    split_arg_string,
)

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config

_LONGEST = 3
"""Seconds until whoever waits gets nothing."""
_MANY = 100
"""So many archives are offered before the first letter of one is typed; else only VMs."""
_SAFE = re.compile(r"[\w.+@-]+")
"""Names that a shell takes as they are. Others are written by others, and a shell would act upon them."""


def script(root: click.Command, shell: str, variable: str) -> str:
    """What teaches a shell to ask."""
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    return kind(root, {}, "borg-ovirt", variable).source()


def answer(root: click.Command, variable: str, instruction: str) -> int:
    """Do what the shell asks, whatever happens without a word to anybody."""
    if not instruction.endswith("_complete"):
        return shell_complete(root, {}, "borg-ovirt", variable, instruction)
    try:
        with _in_silence():
            return shell_complete(root, {}, "borg-ovirt", variable, instruction)
    except Exception:  # a shell's prompt is no place for it
        return 0


def location(
    context: click.Context, parameter: click.Parameter, incomplete: str, *, name: bool | None
) -> list[CompletionItem]:
    """A repository, or something in it; `name` says whether it must be named, None that it must not."""
    if "::" not in incomplete or name is None:
        return _repositories(context, incomplete, "::" if name else "")
    repo, _, begun = incomplete.rpartition("::")
    where = repo or os.environ.get("BORG_REPO", "")
    archives = "VM" not in (parameter.metavar or "")
    return [CompletionItem(f"{repo}::{found}") for found in inside(context, where, begun, archives=archives)]


def _repositories(context: click.Context, incomplete: str, end: str) -> list[CompletionItem]:
    """Names of the configuration, else directories."""
    config = _configuration(context)
    found = [name for name in config.repositories if name.startswith(incomplete)] if config else []
    return [CompletionItem(name + end) for name in found] or [CompletionItem(incomplete, type="dir")]


def engines(context: click.Context, incomplete: str) -> list[str]:
    """Names of the configuration."""
    config = _configuration(context)
    return [name for name in config.engines if name.startswith(incomplete)] if config else []


def inside(context: click.Context, repo: str, incomplete: str, *, archives: bool) -> list[str]:
    """VMs that have archives in a repository, and the archives."""
    vms: set[str] = set()
    names: set[str] = set()
    for vm, name in _held(context, repo):
        vms.add(vm)
        names.add(name)
    offered = {vm for vm in vms if vm.startswith(incomplete)}
    if archives and (incomplete or len(names) <= _MANY):
        offered |= {name for name in names if name.startswith(incomplete)}
    return sorted(name for name in offered if _SAFE.fullmatch(name))


def inside_of(context: click.Context, argument: str, incomplete: str) -> list[str]:
    """The same of the repository that another argument names."""
    where = context.params.get(argument)
    return inside(context, where.repo, incomplete, archives=True) if where is not None else []


def _configuration(context: click.Context) -> Config | None:
    from borg_ovirt.config.load import load
    from borg_ovirt.errors import BorgOvirtError

    try:
        return load(context.params.get("config"), context.params.get("settings") or ()).config
    except BorgOvirtError:
        return None


def _held(context: click.Context, repo: str) -> Iterator[tuple[str, str]]:
    """VM and name of each archive of ours."""
    from borg_ovirt.config.settings import repository_settings
    from borg_ovirt.errors import BorgOvirtError
    from borg_ovirt.repository.open import open_repository

    config = _configuration(context)
    if config is None:
        return
    settings = repository_settings(config, repo)
    source = settings.passphrase
    if "BORG_PASSPHRASE" not in os.environ:
        known = source is not None and source.command is None and source.descriptor is None
        by_borg = any(name in os.environ for name in ("BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD"))
        try:
            os.environ["BORG_PASSPHRASE"] = source.reveal() if source and known and not by_borg else ""
        except BorgOvirtError:
            return
    try:
        with open_repository(settings.location, write=False, glance=True) as opened:
            yield from ((info.comment.vm_name, info.name) for info in opened.archives())
    except BorgOvirtError:
        return


@contextmanager
def _in_silence() -> Iterator[None]:
    """No question can be asked, no word is heard but the answer, and after a moment it is over."""
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, _LONGEST)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 2)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (as long as the process)
    yield


class Bash(BashComplete):
    """For bash, which parts words at colons."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while read -r line; do
        case "$line" in
            dir,*) compopt -o dirnames -o filenames ;;
            file,*) compopt -o default -o filenames ;;
            plain,*) COMPREPLY+=("${line#plain,}") ;;
        esac
        case "$line" in *::) compopt -o nospace ;; esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD COMP_LINE="$COMP_LINE" \\
        COMP_POINT="$COMP_POINT" %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    _parted = ""
    """What of the word bash takes for words of their own, before the one it completes."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before, and the one to complete, as a program would get them."""
        number = int(os.environ["COMP_CWORD"])
        parts = split_arg_string(os.environ["COMP_WORDS"])
        parts = [*parts, *[""] * (number + 1 - len(parts))][: number + 1]
        line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT") or 0)]
        words = split_arg_string(line) if line else list(_together(parts))
        if line.endswith((" ", "\t")):
            words.append("")
        last = parts[-1]
        self._parted = words[-1] if set(last) == {":"} else words[-1].removesuffix(last)
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Bash puts it in place of what follows the last colon."""
        return f"{item.type},{item.value.removeprefix(self._parted)}"


def _together(parts: list[str]) -> Iterator[str]:
    """Words of which bash made several, where it does not say how the line was typed."""
    word = ""
    for place, part in enumerate(parts):
        colons = set(part) == {":"} or (part and place and set(parts[place - 1]) == {":"})
        if place and not (colons and place > 2):
            yield word
            word = ""
        word += part
    yield word


add_completion_class(Bash)
