"""A group of commands that says which one may have been meant."""

from __future__ import annotations

import difflib

import click

_ELSEWHERE = {
    "backup": "create",
    "check": "doctor",
    "delete": "prune",
    "download": "extract",
    "forget": "prune",
    "init": "generate",
    "restore": "extract",
    "show": "info",
    "status": "vms",
    "test": "validate",
}
"""What other programs call these commands."""


class Group(click.Group):
    """A group that corrects."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a name that is none, say which one may have been meant."""
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            meant = [_ELSEWHERE.get(name), *difflib.get_close_matches(name, known, 1)]
            meant += [word for word in known if len(name) > 2 and word.startswith(name)]
            found = next((word for word in meant if word in known), None)
            question = f" Did you mean `{found}`?" if found else ""
            raise click.UsageError(f"No such command {name!r}.{question}", ctx)
        return super().resolve_command(ctx, args)
