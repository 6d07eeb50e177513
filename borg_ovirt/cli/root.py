"""The command `borg-ovirt` and its table of subcommands, each imported only when it is called."""

from __future__ import annotations

import importlib

import click

from borg_ovirt import __version__
from borg_ovirt.cli.groups import Group

COMMANDS: dict[str, str] = {
    "init": "Take the first steps: CA, login, repository, key, configuration.",
    "create": "Back up VMs: REPO::VM, or all that the configuration selects.",
    "extract": "Restore a VM into oVirt, or its disks into files.",
    "rollback": "Bring a VM's own disks back to an archive, writing what differs.",
    "serve": "Serve archived disks over NBD, without extracting them.",
    "files": "List or copy single files inside an archived disk.",
    "list": "List the archives of a repository, or of one VM.",
    "info": "Show what one archive holds.",
    "diff": "Show what changed between two archives.",
    "estimate": "Tell what the next backup of a VM would read.",
    "copy": "Copy archives into another repository.",
    "prune": "Remove archives that no rule keeps.",
    "verify": "Prove archives, and say so on each of them.",
    "hold": "Keep archives from every prune of ours.",
    "release": "Take the mark of hold away.",
    "vms": "Show every VM of the engine and how well it is protected.",
    "report": "Report how every VM and repository stands, as a page, too.",
    "cleanup": "Remove what dead runs of ours left in the engine.",
    "doctor": "Check engine, repositories and this machine; say what to do.",
    "selftest": "Try it all on this engine, on a VM of its own that is removed again.",
    "config": "Make, check and explain the configuration.",
    "completion": "Print the completion script of a shell.",
}
"""Name and one line of help: `borg-ovirt --help` prints the table without importing a command."""


class LazyGroup(Group):
    """A group whose subcommands live in modules of their own name beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"borg_ovirt.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the table, not the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
    epilog="Exit status: 0 success, 1 warnings (an archive was made; look at the messages), 2 and above "
    "errors, one number per cause (docs/exit-codes.md), 130 interrupted.",
)
@click.version_option(__version__, prog_name="borg-ovirt")
def root() -> None:
    """oVirt virtual machines in BorgBackup: read what changed, store a complete archive.

    REPO is a Borg repository (a path or an ssh:// URL, BORG_REPO by default) or the name of one in the
    configuration. NAME is a VM (its latest archive) or an archive.
    """
