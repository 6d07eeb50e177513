"""`borg-ovirt completion`: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of SHELL: for commands, options, repositories, VMs and archives.

    VMs and archives are read where that asks nobody: in repositories on this machine, with no passphrase, or
    one from BORG_PASSPHRASE or a file.

    \b
    bash:  borg-ovirt completion bash > ~/.local/share/bash-completion/completions/borg-ovirt
    zsh:   borg-ovirt completion zsh > ~/.zfunc/_borg-ovirt     (~/.zfunc in fpath)
    fish:  borg-ovirt completion fish > ~/.config/fish/completions/borg-ovirt.fish
    """
    from borg_ovirt.cli import complete
    from borg_ovirt.cli.boundary import COMPLETION_VARIABLE
    from borg_ovirt.cli.root import root

    click.echo(complete.script(root, shell, COMPLETION_VARIABLE))
    return 0
