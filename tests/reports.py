"""A report with everything in it that a page, a table or a metric may have to show; some of it hostile."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from borg_ovirt.blocks import GiB, MiB
from borg_ovirt.jobs.health.finding import failed, ok, warn
from borg_ovirt.jobs.health.vms import Protection
from borg_ovirt.jobs.report.growth import pace
from borg_ovirt.jobs.report.model import Growth, HeldArchive, NightPoint, Report, RepositoryReport, VmReport
from borg_ovirt.repository.proof import ProofRecord

NOW = datetime(2026, 6, 30, 6, 30, tzinfo=timezone.utc)
TIB = 1024 * GiB
HOSTILE = "<script>alert(1)</script>\"'&\u202e\x1b[2J"
LONG = "a-name-without-a-single-place-to-break-" * 4
DAY = timedelta(days=1)


def protection(vm: str, verdict: str = "ok", *, days: float | None = 0.2, **more: object) -> Protection:
    age = None if days is None else days * DAY
    facts: dict[str, object] = {
        "vm": vm,
        "vm_id": f"00000000-0000-4000-8000-{abs(hash(vm)) % 10**12:012}",
        "status": "up",
        "selected": verdict not in ("-", "unselected"),
        "repository": "local",
        "archive": None if age is None else f"{vm}-2026-06-30T020000Z",
        "time": None if age is None else NOW - age,
        "age": age,
        "mode": "image",
        "kind": "incremental",
        "checkpoint": "ready",
        "size": 0 if age is None else 120 * GiB,
        "archives": 0 if age is None else 21,
        "held": 0,
        "damaged": [],
        "proof": ProofRecord(level="data", passed=True, time=NOW - 9 * DAY, version="0.1.0"),
        "proof_age": 9 * DAY,
        "failed_proofs": [],
        "heat": None,
        "verdict": verdict,
    }
    return Protection(**(facts | more))  # type: ignore[arg-type]


def nights(seed: int, usual: float, last: float | None = None, heat: str | None = None) -> list[NightPoint]:
    dice = random.Random(seed)
    points = [
        NightPoint(
            f"a{ago}",
            NOW - ago * DAY - DAY / 6,
            "incremental",
            usual * dice.uniform(0.5, 1.8),
            int(dice.uniform(0.2, 2) * GiB),
            None,
        )
        for ago in range(27, -1, -1)
        if ago != 11
    ]
    if last is not None:
        points[-1] = replace(points[-1], changed=last, added=48 * GiB, heat=heat)
    return points


def vm(line: Protection, **more: object) -> VmReport:
    facts: dict[str, object] = {
        "protection": line,
        "why": None,
        "max_age": timedelta(hours=26),
        "max_proof_age": 60 * DAY,
        "unique": None if line.archive is None else 38 * GiB + 200 * MiB,
        "shared": None if line.archive is None else 3 * GiB + 400 * MiB,
        "nights": [] if line.archive is None else nights(len(line.vm), 0.012),
        "oldest": None if line.archive is None else NOW - 200 * DAY,
        "retention": "14 daily, 8 weekly, 12 monthly",
        "holds": [],
        "warnings": [],
        "notes": [],
    }
    return VmReport(**(facts | more))  # type: ignore[arg-type]


HEAT = (
    "it changed as never before: 41% of its data changed, against 1.2% (at most 2.1%) in the 26 nights "
    "before; what it wrote compressed to 99%, against 43.0% (at most 51.2%) in the 26 nights before"
)


def report() -> Report:
    """Of an engine and two repositories."""
    ahead = NOW + 275 * DAY
    hold = HeldArchive("mail01-2026-03-31T020000Z", "audit@example", "year end", NOW - 90 * DAY, ahead)
    unproven = {"proof": None, "proof_age": None}
    lost = "erp-db-2026-06-29T020000Z cannot be restored whole: the repository lost chunks of disks/x"
    bad = [
        vm(
            protection("erp-db", "old", days=3.4),
            why="its last archive is 3d10h old, and may be 1d02h",
            warnings=[lost],
        ),
        vm(
            protection("new-intranet", "no backup", days=None, **unproven),
            why="it is selected and has no archive",
        ),
        vm(
            protection(HOSTILE, "unproven", **unproven),
            why="none of its archives was proven, and one is asked for every 60d",
            notes=[HOSTILE],
            holds=[replace(hold, reason=HOSTILE, by=HOSTILE)],
            retention="everything",
        ),
    ]
    doubtful = [
        vm(
            protection("files01"),
            warnings=[f"files01-2026-06-30T020000Z: {HEAT}"],
            nights=nights(3, 0.012, 0.41, HEAT),
        ),
        vm(
            protection(LONG, "no max_age"),
            why="nothing says how old its last archive may be (policy.max_age)",
            max_age=None,
        ),
    ]
    good = [
        *(vm(protection(f"web{n:02}"), nights=nights(n, 0.004 * n)) for n in range(1, 6)),
        vm(
            protection("mail01", held=1, size=2 * TIB),
            holds=[hold],
            notes=["UEFI variables of VM mail01 cannot be backed up over REST"],
            nights=nights(40, 0.2),
        ),
    ]
    no_matter = [
        vm(protection("scratch01", "-", days=None, **unproven), why="the configuration excludes it"),
        vm(protection("retired", "-", days=90, status="gone"), why="the engine has it no more"),
    ]
    vms = [*bad, *doubtful, *good, *no_matter]
    return Report(NOW, "0.1.0", "backup01", "engine.example", None, vms, repositories())


def repositories() -> list[RepositoryReport]:
    """One here, one far away."""
    points = [
        (NOW - day * DAY, int((2.6 - day * 0.011 + 0.03 * (day % 7)) * TIB)) for day in range(58, -1, -1)
    ]
    local = RepositoryReport(
        name="local",
        location="/srv/borg/vms",
        archives=231,
        stored=points[-1][1],
        original=60 * TIB,
        taken=int(2.7 * TIB),
        free=int(0.9 * TIB),
        growth=Growth(points, pace(points), 83 * DAY, "in 83 days at 11.3 GiB a day (922 GiB free)"),
        findings=[
            ok("repository local", "encrypted (repokey-blake2)"),
            ok("repository local", "a copy of its key was made on 2026-01-04: /root/key-backup"),
            ok("repository local", "append-only: what is in it stays until somebody else compacts"),
            failed(
                "repository local", "Borg found its files faulty on 2026-06-28", "Run `borg check` on it."
            ),
        ],
    )
    offsite = RepositoryReport(
        name="offsite",
        location="ssh://backup@far.example:22/./vms",
        archives=180,
        stored=2 * TIB,
        original=None,
        growth=Growth(
            [], None, None, "unknown: the free space of a repository on another machine is not told"
        ),
        findings=[warn("repository offsite", "no copy of its key is named", "borg key export ...")],
    )
    return [local, offsite]
