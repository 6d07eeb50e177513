"""`borg-ovirt doctor`: find what would make a backup fail tonight."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_ERROR, EXIT_OK, EXIT_WARNING

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config
    from borg_ovirt.jobs.health.doctor_repository import LookedAt
    from borg_ovirt.jobs.health.finding import Finding


@dataclass(frozen=True)
class DoctorOptions:
    """What is looked at beyond what always is, and where."""

    rights: bool = False
    probe_write: bool = False
    probe_domain: str | None = None
    fetch_ca: str | None = None
    fingerprint: str | None = None
    host_port: int = 54322
    proxy_port: int | None = None


_looks = options.bundle(
    "looks",
    DoctorOptions,
    click.option("--rights", is_flag=True, help="Prove every right by requests that can only be refused."),
    click.option("--probe-write", is_flag=True, help="Make and remove a disk of 1 MiB: can a restore be?"),
    click.option("--probe-domain", metavar="NAME", help="Storage domain for --probe-write."),
    click.option(
        "--fetch-ca",
        type=click.Path(dir_okay=False),
        help="Fetch the engine's CA; write it to this file if --fingerprint fits.",
    ),
    click.option(
        "--fingerprint", metavar="SHA256", help="The CA's fingerprint, as you know it from elsewhere."
    ),
    click.option(
        "--host-port", type=int, default=54322, show_default=True, help="Port of the hosts' imageio."
    ),
    click.option("--proxy-port", type=int, help="Port of the engine's proxy [default: what transfers name]"),
)


@click.command("doctor")
@click.argument("where", type=location.repository, nargs=-1, metavar="[REPO] ...")
@_looks
@options.reading
@options.engine
@options.common()
def command(
    output: Output,
    where: tuple[location.Location, ...],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    looks: DoctorOptions,
) -> int:
    """Check connection, certificate, login, rights, ports, change tracking, room, clock, versions and
    repositories; say what to do about each finding.

    Nothing is changed, unless --probe-write is given. --rights names each right that is missing, what for
    and on which object. Exit status: 0 all ok, 1 warnings, 2 failures.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.config.load import find
    from borg_ovirt.jobs.health.doctor import DoctorPlan, doctor
    from borg_ovirt.ovirt.tracked.journal import state_dir

    config = connect.configuration(output)
    if looks.fetch_ca:
        return _fetch_ca(output, config, engine, Path(looks.fetch_ca), looks.fingerprint)
    plan = DoctorPlan(
        access=connect.engine_access_if_any(config, engine),
        repositories={
            place.repo: looked_at(config, place, repository)
            for place in where or [location.Location(name) for name in config.repositories]
        },
        state=state_dir(),
        config_file=find(output.config_file),
        secrets=tuple(_secret_files(config, engine)),
        min_free=config.limits.min_free,
        host_port=looks.host_port,
        proxy_port=looks.proxy_port,
        rights=looks.rights,
        probe_write=looks.probe_write,
        probe_domain=looks.probe_domain,
        config=config,
    )
    found = []
    for finding in doctor(plan):
        found.append(finding)
        if not output.json:
            _show(output, finding)
    if output.json:
        output.result({"findings": found})
    else:
        output.lines(_count(found))
    states = {finding.status for finding in found}
    return EXIT_ERROR if "failure" in states else EXIT_WARNING if "warning" in states else EXIT_OK


_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


def _show(output: Output, finding: Finding) -> None:
    """The word is coloured on a terminal, unless NO_COLOR says otherwise."""
    output.lines(f"{finding.status:8} {finding.about}: {finding.text}", first=_COLOURS[finding.status])
    if finding.todo:
        output.lines(f"{'':8} -> {finding.todo}")


def _count(found: Sequence[Finding]) -> str:
    """How many of each, so that a long list need not be read for what is wrong."""
    count = Counter(finding.status for finding in found)
    plural = {status: "" if count[status] == 1 else "s" for status in count}
    return ", ".join(
        [
            f"{count['ok']} ok",
            f"{count['warning']} warning{plural.get('warning', 's')}",
            f"{count['failure']} failure{plural.get('failure', 's')}",
        ]
    )


def _secret_files(config: Config, engine: options.EngineOptions) -> Iterator[Path]:
    """Every file that a password or passphrase is read from."""
    sections = [*config.engines.values(), *config.repositories.values()]
    named = [getattr(one, "password_file", None) or getattr(one, "passphrase_file", None) for one in sections]
    given = [engine.password_file, os.environ.get("BORG_OVIRT_PASSWORD_FILE")]
    yield from dict.fromkeys(Path(file) for file in [*given, *named] if file)


def looked_at(config: Config, place: location.Location, given: options.RepositoryOptions) -> LookedAt:
    """A repository, and what the configuration says of it."""
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.health.doctor_repository import LookedAt

    settings = connect.repository_of(config, place, given)
    written = config.repositories.get(settings.name or "")
    return LookedAt(
        lambda: connect.repository(settings, write=False),
        written.key_backup if written else None,
        written.append_only if written else None,
    )


def _fetch_ca(
    output: Output, config: Config, given: options.EngineOptions, path: Path, expected: str | None
) -> int:
    """Show the engine's CA, and pin it when its fingerprint is the one the user knows."""
    from borg_ovirt.cli.connect import engine_url
    from borg_ovirt.ovirt.session.ca import fetch_ca, pin_ca

    fetched = fetch_ca(engine_url(config, given))
    if expected is None:
        output.lines(
            f"The engine offers a CA with the SHA-256 fingerprint {fetched.fingerprint}",
            "Compare it with what the engine itself says, on its console:",
            "  openssl x509 -noout -fingerprint -sha256 -in /etc/pki/ovirt-engine/ca.pem",
            f"Then: borg-ovirt doctor --fetch-ca {path} --fingerprint ...",
        )
        return EXIT_WARNING
    pin_ca(fetched, expected, path)
    output.lines(f"The CA was written to {path}.")
    return EXIT_OK
