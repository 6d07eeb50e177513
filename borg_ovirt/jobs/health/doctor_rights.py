"""What doctor finds of the user's rights: what is seen; which one is missing, for what, on which object."""

from __future__ import annotations

from collections.abc import Iterator

from borg_ovirt.errors import NotAuthorized
from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.ovirt.facts.vm import VmFacts, VmSummary, list_vms, read_vm
from borg_ovirt.ovirt.session import rights
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.probes import (
    Proof,
    backup_rights,
    newest_event,
    prove_all,
    prove_ending,
    read_rights,
)

_SEE_THE_ROLE = "See docs/operating.md, The role."
_RESTORES = (rights.IMPORT, rights.CREATE_VM)


def look_at_rights(engine: Engine, *, every: bool) -> Iterator[Finding]:
    """What the user sees; with `every` each right proven, on the system and on a VM of each cluster."""
    counts, refused = [], False
    for name, count, refusal in read_rights(engine):
        if count is None:
            refused = True
            yield failed("rights", f"{name} cannot be listed: {refusal}", _SEE_THE_ROLE)
        else:
            counts.append(f"{count} {name}")
    if counts:
        yield ok("rights", f"sees {', '.join(counts)}")
    if refused:
        return
    if told := newest_event(engine):
        yield failed("rights", f"events cannot be read: {told}", _SEE_THE_ROLE)
    vms = list_vms(engine)
    if not vms:
        yield warn(
            "rights", "the user sees no VM", "Give it the role on the data center, or on the VMs to back up."
        )
        return
    if told := backup_rights(engine, vms[0].id):
        yield failed("rights", f"backups cannot be asked for: {told}", _SEE_THE_ROLE)
        return
    yield from _proofs(engine, vms) if every else _ending(engine)


def _ending(engine: Engine) -> Iterator[Finding]:
    try:
        prove_ending(engine)
    except NotAuthorized as error:
        yield failed("rights", error.message, error.hint)
    else:
        yield ok("rights", "transfers can be ended; `doctor --rights` proves every right")


def _proofs(engine: Engine, vms: list[VmSummary]) -> Iterator[Finding]:
    told = set()
    for proof in prove_all(engine, _one_of_each_cluster(engine, vms)):
        if (proof.right, proof.on) not in told:
            told.add((proof.right, proof.on))
            yield _finding(proof)


def _one_of_each_cluster(engine: Engine, vms: list[VmSummary]) -> Iterator[VmFacts]:
    """One that is down where there is one: it can be asked more."""
    chosen: dict[str, VmSummary] = {}
    for vm in sorted(vms, key=lambda vm: vm.status != "down"):
        chosen.setdefault(vm.cluster_id, vm)
    for vm in chosen.values():
        yield read_vm(engine, vm.id)


def _finding(proof: Proof) -> Finding:
    name = f"{proof.right.permit} on {proof.on}"
    if proof.held is None:
        return ok("right", f"{name}: not proven ({proof.note})")
    if proof.held:
        return ok("right", f"{name}: held")
    text = f"{name} is missing: it is needed to {proof.right.purpose}"
    if proof.right is rights.EVENTS:
        return warn("right", text, "Runs work all the same; the engine's log tells less.")
    return (warn if proof.right in _RESTORES else failed)("right", text, proof.right.hint)
