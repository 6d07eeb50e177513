"""Adds a libvirt domain to a restore into files: its disks are the files of the plan. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from borg_ovirt.jobs.restore.libvirt import Image, make_domain
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import FilePlan, RestorePlan
from borg_ovirt.jobs.restore.wanted import Wanted
from borg_ovirt.ovirt.facts.hardware import read_hardware

DOMAIN = "domain.xml"


def with_domain(
    plan: RestorePlan, wanted: Wanted, ovf: bytes, options: RestoreOptions, *, exists: bool
) -> RestorePlan:
    """The plan and `domain.xml`. `exists`: there is a file of that name."""
    domain = make_domain(
        wanted.manifest,
        read_hardware(ovf),
        list(_images(wanted, plan)),
        options.networks,
        nics_off=options.nics_off,
    )
    path = (options.directory or Path()) / DOMAIN
    blockers = [*plan.blockers, *domain.blockers]
    if exists:
        blockers.append(f"{path.parent} already holds {DOMAIN}: choose another directory")
    return replace(
        plan,
        files=(*plan.files, FilePlan(path, len(domain.xml), text=domain.xml)),
        blockers=tuple(blockers),
        notes=(*plan.notes, *domain.notes),
    )


def _images(wanted: Wanted, plan: RestorePlan) -> Iterator[Image]:
    for disk in wanted.disks:
        files = [(file.path, file.form) for file in plan.files if file.disk == disk]
        yield Image(disk.record, tuple(reversed(files)))
