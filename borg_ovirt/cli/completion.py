"""`borg-ovirt completion`: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of SHELL.

    \b
    bash:  borg-ovirt completion bash > ~/.local/share/bash-completion/completions/borg-ovirt
    zsh:   borg-ovirt completion zsh > ~/.zfunc/_borg-ovirt     (~/.zfunc in fpath)
    fish:  borg-ovirt completion fish > ~/.config/fish/completions/borg-ovirt.fish
    """
    from click.shell_completion import get_completion_class

    from borg_ovirt.cli.boundary import COMPLETION_VARIABLE
    from borg_ovirt.cli.root import root

    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    click.echo(kind(root, {}, "borg-ovirt", COMPLETION_VARIABLE).source())
    return 0
