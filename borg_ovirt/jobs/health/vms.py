"""Every VM of the engine and how well it is protected: its last archive, how old, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from borg_ovirt.jobs.selection import Member
from borg_ovirt.ovirt.facts.checkpoints import list_checkpoints
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.repository.catalogue import ArchiveInfo

_AT_ONCE = 4
"""Questions about checkpoints asked at a time: one per VM, and an engine answers several at once."""


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
    """The last one."""
    time: datetime | None
    age: timedelta | None
    mode: str | None
    kind: str | None
    checkpoint: str | None
    """`ready`: the next backup is incremental; `lost`: the engine has it no more; `none`."""
    size: int
    archives: int
    held: int
    verdict: str
    """`ok`, `old`, `no backup`, or `-` for a VM that nobody wants backed up."""

    @property
    def failed(self) -> bool:
        return self.verdict in ("old", "no backup")


def protection(
    engine: Engine,
    members: Sequence[Member],
    archives: Mapping[str, Sequence[ArchiveInfo]],
    now: datetime,
    max_age: timedelta | None = None,
) -> list[Protection]:
    """One line for each VM and repository (name -> archives), the least protected first."""
    lines = []
    checkpoints = _checkpoints(engine, members, archives)
    known = {member.id for member in members}
    for repository, infos in archives.items():
        by_vm: dict[str, list[ArchiveInfo]] = {}
        for info in sorted(infos, key=lambda a: (a.time, a.name)):
            by_vm.setdefault(info.comment.vm_id, []).append(info)
        for member in members:
            mine = by_vm.get(member.id, [])
            lines.append(
                _line(
                    member.name,
                    member.id,
                    member.summary.status,
                    member.selected,
                    repository,
                    mine,
                    now,
                    max_age,
                    checkpoints.get(member.id, frozenset()),
                )
            )
        for vm_id, mine in by_vm.items():
            here = mine[-1].comment.engine == engine.host
            if vm_id not in known and here:
                name = mine[-1].comment.vm_name
                lines.append(_line(name, vm_id, "gone", False, repository, mine, now, max_age, frozenset()))
    return sorted(lines, key=_need)


def _need(line: Protection) -> tuple[bool, float, str, str]:
    age = float("inf") if line.age is None else line.age.total_seconds()
    return (not line.selected, -age, line.vm, line.repository)


def _checkpoints(
    engine: Engine, members: Sequence[Member], archives: Mapping[str, Sequence[ArchiveInfo]]
) -> dict[str, frozenset[str]]:
    """VM id -> the checkpoints the engine still has, for VMs whose archives end at one."""
    asked = {info.comment.vm_id for infos in archives.values() for info in infos if info.comment.checkpoint}
    ids = [member.id for member in members if member.id in asked]

    def ask(vm_id: str) -> frozenset[str]:
        return frozenset(c.id for c in list_checkpoints(engine, vm_id) if c.state == "created")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(ids, pool.map(ask, ids), strict=True))


def _line(
    name: str,
    vm_id: str,
    status: str,
    selected: bool,
    repository: str,
    mine: Sequence[ArchiveInfo],
    now: datetime,
    max_age: timedelta | None,
    checkpoints: frozenset[str],
) -> Protection:
    last = mine[-1] if mine else None
    age = now - last.time if last else None
    return Protection(
        vm=name,
        vm_id=vm_id,
        status=status,
        selected=selected,
        repository=repository,
        archive=last.name if last else None,
        time=last.time if last else None,
        age=age,
        mode=last.comment.mode if last else None,
        kind=last.comment.kind if last else None,
        checkpoint=_checkpoint(last, checkpoints) if last else None,
        size=last.original_size if last else 0,
        archives=len(mine),
        held=sum(info.comment.held for info in mine),
        verdict=_verdict(selected, age, max_age),
    )


def _checkpoint(last: ArchiveInfo, present: frozenset[str]) -> str:
    if last.comment.checkpoint is None:
        return "none"
    return "ready" if last.comment.checkpoint in present else "lost"


def _verdict(selected: bool, age: timedelta | None, max_age: timedelta | None) -> str:
    if not selected:
        return "-"
    if age is None:
        return "no backup"
    return "old" if max_age is not None and age > max_age else "ok"
