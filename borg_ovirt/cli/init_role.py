"""What `borg-ovirt init` does about rights: makes the documented role, or tells how it is made."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import NotAuthorized, UsageError
from borg_ovirt.redact import remember

if TYPE_CHECKING:
    from borg_ovirt.ovirt.session.engine import Engine, EngineAccess

_SHIPPED = (Path(sys.prefix, "share/borg-ovirt/hooks"), Path("/usr/share/borg-ovirt/hooks"))
"""Where the drop-ins lie beside a virtual environment, and where the Debian package puts them."""


@dataclass(frozen=True)
class RoleOptions:
    """Who makes the role, and where it holds."""

    administrator: str | None = None
    administrator_password_file: str | None = None
    data_center: str | None = None
    provider: str | None = None


role_options = options.bundle(
    "role",
    RoleOptions,
    click.option(
        "--administrator",
        metavar="USER",
        help="Make the roles of docs/operating.md as this user, and give them to --username.",
    ),
    click.option(
        "--administrator-password-file",
        type=click.Path(dir_okay=False, exists=True),
        help="File whose first line is the administrator's password; it is not kept.",
    ),
    click.option("--data-center", metavar="NAME", help="Where the role holds [default: the only one]"),
    click.option(
        "--provider", metavar="NAME", help="Who knows --username [default: found by the profile in it]"
    ),
)


def asked(given: RoleOptions) -> RoleOptions:
    """With an administrator, where somebody at a terminal has one."""
    from borg_ovirt.cli.connect import somebody_sits_there

    if given.administrator or not somebody_sits_there():
        return given
    question = "Make the role for this user now, with an administrator's password?"
    if not click.confirm(question, default=False, err=True):
        return given
    return replace(given, administrator=click.prompt("Administrator", default="admin@internal", err=True))


def make_role(output: Output, access: EngineAccess, role: RoleOptions) -> None:
    """As the administrator, for the user of `access`."""
    from borg_ovirt.ovirt.make.roles import Receiver, give_roles
    from borg_ovirt.ovirt.session.engine import Engine

    assert role.administrator is not None
    with Engine(replace(access, username=role.administrator, password=_password(role))) as engine:
        try:
            for line in give_roles(engine, Receiver(access.username, role.provider, role.data_center)):
                output.lines(line)
        except NotAuthorized as error:
            raise NotAuthorized(
                f"{role.administrator} may not give rights: {error.message}", how(access, role)
            ) from None


def _password(role: RoleOptions) -> str:
    from borg_ovirt.cli.connect import somebody_sits_there

    if role.administrator_password_file:
        password = first_line(Path(role.administrator_password_file))
    elif somebody_sits_there():
        password = click.prompt(f"Password of {role.administrator}", hide_input=True, err=True)
    else:
        raise UsageError(
            "--administrator-password-file is missing.", "Without a terminal nothing can be asked."
        )
    remember(password)
    return password


def tell_missing(output: Output, engine: Engine, access: EngineAccess, role: RoleOptions) -> None:
    """Which rights the user who is logged in lacks, and how they are given."""
    from borg_ovirt.jobs.health.doctor_rights import look_at_rights

    lacking = [one.text for one in look_at_rights(engine, every=True) if one.status != "ok"]
    if lacking:
        output.warn(f"{access.username} lacks rights: {'; '.join(lacking)}. {how(access, role)}")


def how(access: EngineAccess, role: RoleOptions) -> str:
    """The commands that give the role, for whoever administers the engine."""
    user, _, profile = access.username.rpartition("@")
    values = (
        *(access.api_url, "/etc/pki/ovirt-engine/ca.pem", user),
        *(role.provider or f"{profile}-authz", role.data_center or "Default"),
    )
    hooks = next((place for place in _SHIPPED if place.is_dir()), Path("hooks"))
    script = shlex.join(["python3", str(hooks / "rights" / "make-role"), *values])
    return (
        "An administrator gives them: by this command with --administrator; or on the engine's own machine, "
        f"to which {hooks}/rights is copied, by `{script}`; or with Ansible, by `ansible-playbook role.yaml` "
        "there (docs/operating.md, The role)."
    )


def first_line(path: Path) -> str:
    """The secret of a file."""
    try:
        return (path.read_text(encoding="utf-8").splitlines() or [""])[0]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
