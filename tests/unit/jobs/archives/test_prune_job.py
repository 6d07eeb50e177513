"""`prune` removes what no rule keeps, and of a VM never the newest archive that can be restored."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.config.load import parse
from borg_ovirt.config.schema import Config, Retention
from borg_ovirt.errors import ArchiveNotFound
from borg_ovirt.jobs.archives.prune import Known, PruneResult, prune
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment
from borg_ovirt.repository.series import Series, all_series

NOW = datetime(2026, 3, 20, 12, tzinfo=timezone.utc)
VM = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


class Repository:
    """Archives of one night each, the newest last; `damaged` lack chunks."""

    def __init__(self, *names: str, vm: str = VM, damaged: tuple[str, ...] = (), engine: str = "e") -> None:
        self.infos = [
            ArchiveInfo(
                name,
                name,
                NOW - timedelta(days=len(names) - number),
                ArchiveComment(
                    vm_id=vm,
                    vm_name="web01",
                    mode="image",
                    engine=engine,
                    kind="full",
                    number=number + 1,
                    held=name.startswith("held"),
                    marked=name.startswith("marked"),
                ),
                timedelta(0),
                1,
                1,
            )
            for number, name in enumerate(names)
        ]
        self.damaged = damaged
        self.location = "/repo"
        self.looked_at: list[str] = []
        self.deleted: list[str] = []
        self.compacted = 0

    def series(self, now: datetime) -> list[Series]:
        return all_series(self.infos, now)

    def archives(self) -> list[ArchiveInfo]:
        return self.infos

    def all_names(self) -> set[str]:
        return {info.name for info in self.infos}

    def damage(self, name: str) -> str | None:
        self.looked_at.append(name)
        return "it lost chunks" if name in self.damaged else None

    def delete(self, names: list[str]) -> int:
        self.deleted += names
        return 1

    def compact(self) -> int:
        self.compacted += 1
        return 7

    def archive(self, name: str) -> Any:
        vm = SimpleNamespace(id=VM, name="web01", tags=("gold",), cluster="", data_center="")
        return SimpleNamespace(manifest=SimpleNamespace(vm=vm))


CONFIG = parse("retention: {last: 2}", "c.yaml")


def go(repository: Any, config: Config = CONFIG, known: Known | None = None, **options: Any) -> PruneResult:
    return prune(repository, config, known, NOW, **options)


def test_what_no_rule_keeps_is_removed_and_the_space_given_back() -> None:
    repository = Repository("a", "b", "c", "d")
    result = go(repository)
    assert sorted(repository.deleted) == ["a", "b"]
    assert (result.removed, result.kept, result.compacted, result.freed) == (2, 2, True, 7)


@pytest.mark.parametrize(
    ("options", "deleted", "compacted"), [({"dry_run": True}, 0, 0), ({"compact": False}, 2, 0)]
)
def test_what_is_not_to_be_done_is_not(options: dict[str, Any], deleted: int, compacted: int) -> None:
    repository = Repository("a", "b", "c", "d")
    assert go(repository, **options).removed == 2
    assert (len(repository.deleted), repository.compacted) == (deleted, compacted)


def test_the_newest_that_can_be_restored_stays_whatever_the_rules_say() -> None:
    repository = Repository("a", "b", "c", "d", damaged=("c", "d"))
    result = go(repository)
    assert repository.deleted == ["a"] or "b" not in repository.deleted
    assert "b" not in repository.deleted
    assert {line.archive: line.damage for line in result.lines if line.damage} == {
        "c": "it lost chunks",
        "d": "it lost chunks",
    }
    assert len(result.warnings) == 2


def test_it_looks_back_to_one_whose_change_tracking_was_right() -> None:
    repository = Repository("a", "b", "c", "marked-d", "marked-e")
    go(repository)
    assert repository.looked_at == ["marked-e", "marked-d", "c"]
    assert "c" not in repository.deleted


def test_a_word_that_is_no_vm_is_refused_and_nothing_goes() -> None:
    repository = Repository("a", "b", "c", "d")
    for word, said in (("web02", "none of a VM"), ("d", "d is an archive"), ("", "none of a VM")):
        with pytest.raises(ArchiveNotFound, match=said):
            go(repository, vms=["web01", word])
    assert repository.deleted == []
    assert "web01" in str(caught_hint(repository, "d"))


def caught_hint(repository: Repository, word: str) -> str | None:
    with pytest.raises(ArchiveNotFound) as caught:
        go(repository, vms=[word])
    return caught.value.hint


def test_vms_are_meant_by_name_or_id_and_others_stay() -> None:
    repository = Repository("a", "b", "c")
    others = Repository("x", "y", "z", vm=OTHER)
    for info in others.infos:
        repository.infos.append(replace(info, comment=info.comment.model_copy(update={"vm_name": "db"})))
    assert {line.vm for line in go(repository, vms=["web01"], dry_run=True).lines} == {"web01"}
    assert {line.vm for line in go(repository, vms=[OTHER.upper()], dry_run=True).lines} == {"db"}
    assert {line.vm for line in go(repository, vms=[VM, "db"]).lines} == {"web01", "db"}
    assert sorted(repository.deleted) == ["a", "x"]


def test_two_vms_of_one_name_are_not_judged_as_one() -> None:
    repository = Repository("a", "b", "c")
    repository.infos += Repository("x", "y", "z", vm=OTHER).infos
    with pytest.raises(ArchiveNotFound, match="2 VMs were named web01"):
        go(repository, vms=["web01"])
    assert repository.deleted == []


def test_without_rules_nothing_goes_and_nothing_is_looked_at() -> None:
    repository = Repository("a", "b", "c")
    assert go(repository, parse("", "c.yaml")).removed == 0
    assert (repository.deleted, repository.looked_at) == ([], [])


def test_a_held_archive_stays() -> None:
    repository = Repository("held-a", "b", "c", "d")
    go(repository)
    assert repository.deleted == ["b"]


def test_only_the_vm_that_is_meant() -> None:
    repository = Repository("a", "b", "c", "d")
    repository.infos += Repository("w", "x", "y", "z", vm=OTHER).infos
    go(repository, vms=[OTHER])
    assert sorted(repository.deleted) == ["w", "x"]


@pytest.mark.parametrize(
    ("rules", "age", "removed"),
    [
        ("{last: 1}", 0, 0),
        ("{last: 1, gone_vms: prune}", 0, 2),
        ("{last: 1, gone_vms: 5d}", 10, 3),
        ("{last: 1, gone_vms: 50d}", 10, 0),
    ],
)
def test_a_vm_that_is_gone_keeps_all_unless_the_rules_say_otherwise(
    rules: str, age: int, removed: int
) -> None:
    repository = Repository("a", "b", "c")
    for number, info in enumerate(repository.infos):
        repository.infos[number] = ArchiveInfo(
            info.name, info.id, info.time - timedelta(days=age), info.comment, info.duration, 1, 1
        )
    config = parse(f"retention: {rules}", "c.yaml")
    assert go(repository, config, Known("e", {})).removed == removed
    other = Repository("a", "b", "c", engine="another")
    assert go(other, config, Known("e", {})).removed == 2, "of another engine nobody knows that it is gone"


def test_rules_of_the_tags_that_a_vm_had_then_still_hold() -> None:
    """A tag that was lost must not cost the archives that were made under it."""
    config = parse(
        "retention: {last: 1}\noverrides:\n  - vms: {tags: [gold]}\n    retention: {last: 3}", "c.yaml"
    )
    member: Any = SimpleNamespace(settings=SimpleNamespace(retention=Retention(last=1)))
    repository = Repository("a", "b", "c", "d")
    result = go(repository, config, Known("e", {VM: member}))
    assert repository.deleted == ["a"]
    assert any("tags of then" in line.rule for line in result.lines)


def test_rules_of_the_command_line_go_before_the_configurations() -> None:
    repository = Repository("a", "b", "c", "d")
    go(repository, rules=Retention(last=3))
    assert repository.deleted == ["a"]
