"""Every VM of the engine and how well it is protected: its last archive, how old, and what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from borg_ovirt.jobs.archives.heat import heats
from borg_ovirt.jobs.health.age import NONE, Limits, limits
from borg_ovirt.jobs.selection import EngineId, Member
from borg_ovirt.ovirt.facts.checkpoints import list_checkpoints
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.proof import ProofRecord, failed_proof, in_words, last_proof
from borg_ovirt.repository.series import Series

_AT_ONCE = 4
"""Questions about checkpoints asked at a time: one per VM, and an engine answers several at once."""


@dataclass(frozen=True)
class History:
    """What one repository holds."""

    series: list[Series]
    damaged: Mapping[str, str]
    """Archives that cannot be restored whole -> why; of those that are newer than the newest whole one."""


@dataclass(frozen=True)
class Protection:
    """A VM in one repository. Sizes in bytes."""

    vm: str
    vm_id: str
    status: str
    """Of the VM; `gone` when the engine no longer has it."""
    selected: bool
    """Whether the configuration backs it up."""
    repository: str
    archive: str | None
    """The last one that can be restored whole."""
    time: datetime | None
    """As its clock had it."""
    age: timedelta | None
    """At most this; None where there is no archive, or no clock that can be believed."""
    mode: str | None
    kind: str | None
    checkpoint: str | None
    """`ready`: the next backup is incremental; `lost`: the engine has it no more; `none`."""
    size: int
    archives: int
    held: int
    damaged: list[str]
    """Newer archives, which cannot be restored whole."""
    proof: ProofRecord | None
    """The newest that an archive of it passed, at the level of its policy or above."""
    proof_age: timedelta | None
    failed_proofs: list[str]
    """Archives that failed theirs."""
    heat: str | None
    """What was unusual about the night of its last archive."""
    verdict: str
    """`ok`, `old`, `unproven` (no proof is young enough), `no max_age` (nothing says how old it may be),
    `damaged` (none can be restored whole), `no backup`, `unselected` (it has archives, and is neither
    selected nor excluded any more); `-` for a VM not to be backed up."""

    @property
    def failed(self) -> bool:
        return self.verdict in ("old", "unproven", "damaged", "no backup", "unselected")


def history(repository: Repository, *, check: bool = True) -> History:
    """What the repository holds; with `check` its newest archives are looked at for damage, else only for
    proofs that they failed."""
    found = repository.series()
    damaged: dict[str, str] = {}
    for series in found:
        for info in series.newest_first:
            failed = failed_proof(info.comment.proofs)
            damage = repository.damage(info.name) if check else in_words(failed) if failed else None
            if damage is None:
                break
            damaged[info.name] = damage
    return History(found, damaged)


def protection(
    engine: Engine,
    members: Sequence[Member],
    histories: Mapping[str, History],
    now: datetime,
    given: Limits = NONE,
) -> list[Protection]:
    """One line for each VM and repository (name -> what it holds), the least protected first.

    Ages that are given go before those of each VM's own policy.
    """
    every = [s for held in histories.values() for s in held.series if s.is_of(*engine.identity)]
    checkpoints = _checkpoints(engine, members, every)
    return judged(engine.identity, members, histories, checkpoints, now, given)


def judged(
    engine: EngineId,
    members: Sequence[Member],
    histories: Mapping[str, History],
    checkpoints: Mapping[str, frozenset[str]],
    now: datetime,
    given: Limits = NONE,
) -> list[Protection]:
    """The same of what is known already: `checkpoints` of the engine by VM id, none where nobody asked."""
    lines = []
    here = {
        name: [series for series in held.series if series.is_of(*engine)] for name, held in histories.items()
    }
    known = {member.id for member in members}
    for name, found in here.items():
        look = _Look(name, histories[name].damaged, now)
        by_vm: dict[str, list[Series]] = {}
        for series in found:
            by_vm.setdefault(series.vm_id, []).append(series)
        for member in members:
            vm = _Vm(
                member.name,
                member.id,
                member.summary.status,
                member.selected,
                member.excluded,
                limits(member.settings.policy, given),
            )
            lines.append(look.line(vm, by_vm.get(member.id, []), checkpoints.get(member.id, frozenset())))
        for vm_id, mine in by_vm.items():
            if vm_id not in known:
                vm = _Vm(mine[0].vm_name, vm_id, "gone", False, True)
                lines.append(look.line(vm, mine, frozenset()))
    return sorted(lines, key=_need)


def _need(line: Protection) -> tuple[bool, float, str, str]:
    age = float("inf") if line.age is None else line.age.total_seconds()
    return (not (line.selected or line.failed), -age, line.vm, line.repository)


def _checkpoints(
    engine: Engine, members: Sequence[Member], found: Iterable[Series]
) -> dict[str, frozenset[str]]:
    """VM id -> the checkpoints the engine still has, for VMs whose archives end at one."""
    asked = {series.vm_id for series in found if any(a.comment.checkpoint for a in series.archives)}
    ids = [member.id for member in members if member.id in asked]

    def ask(vm_id: str) -> frozenset[str]:
        return frozenset(c.id for c in list_checkpoints(engine, vm_id) if c.state == "created")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(ids, pool.map(ask, ids), strict=True))


@dataclass(frozen=True)
class _Vm:
    name: str
    id: str
    status: str
    selected: bool
    excluded: bool
    """Nobody expects backups of it."""
    limits: Limits = NONE


@dataclass(frozen=True)
class _Look:
    """One repository, looked at now."""

    repository: str
    damaged: Mapping[str, str]
    now: datetime

    def line(self, vm: _Vm, mine: Sequence[Series], checkpoints: frozenset[str]) -> Protection:
        """How well the VM is protected by its series: image, chain, or both."""
        whole = [(series, info) for series in mine if (info := self._last_whole(series))]
        last = max(whole, key=lambda pair: pair[0].times[pair[1].name])[1] if whole else None
        since = max((time for series, info in whole if (time := series.since[info.name])), default=None)
        age = self.now - since if since else None
        every = [info.comment for series in mine for info in series.archives]
        count = len(every)
        proofs = [p for comment in every if (p := last_proof(comment.proofs, vm.limits.level))]
        proof = max(proofs, key=lambda p: p.time, default=None)
        proof_age = self.now - proof.time if proof else None
        return Protection(
            vm=vm.name,
            vm_id=vm.id,
            status=vm.status,
            selected=vm.selected,
            repository=self.repository,
            archive=last.name if last else None,
            time=last.time if last else None,
            age=age,
            mode=last.comment.mode if last else None,
            kind=last.comment.kind if last else None,
            checkpoint=_checkpoint(last, checkpoints) if last else None,
            size=last.original_size if last else 0,
            archives=count,
            held=sum(comment.held_at(self.now) for comment in every),
            damaged=[a.name for series in mine for a in series.archives if a.name in self.damaged],
            proof=proof,
            proof_age=proof_age,
            failed_proofs=[
                info.name for s in mine for info in s.archives if failed_proof(info.comment.proofs)
            ],
            heat=next((heats(series).get(info.name) for series, info in whole if info is last), None),
            verdict=_unfit(vm, last, count) or vm.limits.judge(age, proof_age),
        )

    def _last_whole(self, series: Series) -> ArchiveInfo | None:
        return next((info for info in series.newest_first if info.name not in self.damaged), None)


def _unfit(vm: _Vm, last: ArchiveInfo | None, count: int) -> str | None:
    """What there is to say before any age; None where the age decides."""
    if not vm.selected:
        return "unselected" if count and not vm.excluded else "-"
    if last is None:
        return "damaged" if count else "no backup"
    return None


def _checkpoint(last: ArchiveInfo, present: frozenset[str]) -> str:
    if last.comment.checkpoint is None:
        return "none"
    return "ready" if last.comment.checkpoint in present else "lost"
