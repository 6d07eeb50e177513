"""Looks at what is proven of a repository: failed proofs, Borg's own check, VMs past their policy's ages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.jobs.health.vms import Protection, history, judged
from borg_ovirt.jobs.proof.checked import last_check
from borg_ovirt.jobs.selection import EngineId, Member
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.proof import failed_proof, in_words

_SHOWN = 5
_WORDS = {
    "no backup": "have no archive",
    "damaged": "have no archive that can be restored whole",
    "old": "have no archive younger than their max_age",
    "unproven": "have no proof younger than their max_proof_age",
}
"""A verdict on a VM -> what is said of all that it fits."""


def look_at_proofs(about: str, repository: Repository, state: Path) -> Iterator[Finding]:
    """What `verify` and Borg found, whatever engine the archives are of."""
    found = [(i.name, proof) for i in repository.archives() if (proof := failed_proof(i.comment.proofs))]
    if found:
        name, proof = found[-1]
        more = f" (and {len(found) - 1} others)" if len(found) > 1 else ""
        yield warn(
            about,
            f"{name}{more} cannot be relied on: {in_words(proof)}",
            "See docs/proof.md, When a proof fails; `borg-ovirt list` shows all of them.",
        )
    checked = last_check(repository.id, state)
    if checked is not None and checked.sound:
        yield ok(about, f"Borg checked its files on {checked.time:%Y-%m-%d}, and found no fault")
    elif checked is not None:
        yield failed(
            about,
            f"Borg found its files faulty on {checked.time:%Y-%m-%d}",
            "Run `borg check` on it, and see docs/proof.md.",
        )


def look_at_ages(
    about: str, repository: Repository, members: Sequence[Member], engine: EngineId
) -> Iterator[Finding]:
    """Which VMs of the configuration have nothing that is young enough. Chunks are not looked at."""
    held = {about: history(repository, check=False)}
    lines = judged(engine, members, held, {}, datetime.now(timezone.utc))
    selected = [line for line in lines if line.selected]
    for verdict, words in _WORDS.items():
        if mine := [line for line in selected if line.verdict == verdict]:
            yield warn(
                about, f"{len(mine)} VMs {words}: {_names(mine)}", "`borg-ovirt vms` shows how they stand."
            )
    unlimited = [line for line in selected if line.verdict == "no max_age"]
    if unlimited:
        yield warn(
            about,
            f"nothing says how old an archive may be of {len(unlimited)} VMs: {_names(unlimited)}",
            "Write policy.max_age, such as 26h: without it nobody is told that backups have ceased.",
        )
    elif selected and all(line.verdict == "ok" for line in selected):
        yield ok(about, f"every one of {len(selected)} VMs has an archive young enough")


def _names(lines: Sequence[Protection]) -> str:
    return ", ".join(line.vm for line in lines[:_SHOWN]) + (" ..." if len(lines) > _SHOWN else "")
