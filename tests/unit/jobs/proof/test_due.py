"""Which archive is proven next, and what a proof leaves of those before it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from borg_ovirt.config.schema import Config
from borg_ovirt.jobs.proof.due import Wish, by_policy, due
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment, VmRecord, parse_comment
from borg_ovirt.repository.proof import ProofRecord, UnderWay, failed_proof, last_proof, proof, with_proof
from borg_ovirt.repository.series import all_series

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
WEB, DB = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def days(count: float) -> timedelta:
    return timedelta(days=count)


def record(level: Any, passed: bool, age: float) -> ProofRecord:
    return proof(level, NOW - days(age), "1", None if passed else "rot")


def archive(name: str, vm: str, age: float, *proofs: ProofRecord, begun: bool = False) -> ArchiveInfo:
    under_way = UnderWay(level="data", time=NOW - days(1), done=7) if begun else None
    comment = ArchiveComment(
        vm_id=vm, vm_name=name[:3], mode="image", engine="e", kind="full", proofs=proofs, under_way=under_way
    )
    return ArchiveInfo(name, name, NOW - days(age), comment, timedelta(0), 0, 0)


def order(*archives: ArchiveInfo, wish: Wish | None = None) -> list[str]:
    asked = wish or Wish("data", days(30))
    return [one.archive.name for one in due(all_series(archives, NOW), lambda _: asked, NOW)]


def test_what_was_begun_then_the_newest_never_proven_then_the_longest_ago() -> None:
    archives = [
        archive("web-1", WEB, 9),
        archive("web-2", WEB, 8),
        archive("web-3", WEB, 7, record("data", True, 40)),
        archive("web-4", WEB, 6, record("data", True, 50)),
        archive("web-5", WEB, 5, record("data", True, 2)),
        archive("dba-1", DB, 4),
        archive("dba-2", DB, 3, record("structure", True, 1)),
        archive("dba-0", DB, 20, begun=True),
    ]
    assert order(*archives) == ["dba-0", "dba-2", "dba-1", "web-2", "web-1", "web-4", "web-3"]
    assert order(*archives, wish=Wish("structure", days(1.5)))[-3:] == ["web-4", "web-3", "web-5"]


def test_one_that_failed_is_tried_again_no_sooner_than_the_others() -> None:
    failed = archive("web-1", WEB, 9, record("data", False, 3))
    assert order(failed) == []
    assert order(failed, wish=Wish("data", days(2))) == ["web-1"]


def test_a_passed_proof_stands_for_all_below_and_a_failed_one_stays_until_outdone() -> None:
    proofs = with_proof((), record("structure", True, 9))
    proofs = with_proof(proofs, record("data", False, 8))
    assert [p.level for p in proofs] == ["structure", "data"]
    proofs = with_proof(proofs, record("structure", True, 7))  # looks at less: the data are still rotten
    found = failed_proof(proofs)
    assert found is not None
    assert found.level == "data"
    proofs = with_proof(proofs, record("restore", True, 6))
    assert [p.level for p in proofs] == ["restore"]
    assert failed_proof(proofs) is None
    assert last_proof(proofs, "content") == proofs[0]
    assert last_proof(proofs, "boot") is None


def test_the_stamp_survives_the_comment() -> None:
    comment = archive("web-1", WEB, 1, record("data", False, 1), begun=True).comment
    assert parse_comment(comment.to_text(), "web-1") == comment
    assert len(proof("data", NOW, "1", "x" * 9999).note) < 500


@pytest.mark.parametrize(("tags", "level"), [((), "structure"), (("prod",), "data")])
def test_the_policy_of_each_vm_says_its_level(tags: tuple[str, ...], level: str) -> None:
    config = Config.model_validate(
        {
            "policy": {"verify": {"level": "structure", "every": "7d"}},
            "overrides": [{"vms": {"tags": ["prod"]}, "policy": {"verify": {"level": "data"}}}],
        }
    )
    (series,) = all_series([archive("web-1", WEB, 1)], NOW)
    wish = by_policy(config, lambda info: VmRecord(id=WEB, name="web", tags=tags))(series)
    assert wish == Wish(level, days(7))  # type: ignore[arg-type]


def test_without_a_policy_nothing_is_due() -> None:
    (series,) = all_series([archive("web-1", WEB, 1)], NOW)
    assert by_policy(Config(), lambda info: pytest.fail("nothing is read"))(series) is None
