"""Which disks a backup takes: none is left out without a reason, and none is taken that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from borg_ovirt.errors import UsageError, VmNotSuitable
from borg_ovirt.jobs.backup.begin import choose
from borg_ovirt.jobs.backup.disks import DiskRules, choose_disks
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts

ID = "aaaaaaaa-0000-4000-8000-00000000000{}"


def disk(number: int, alias: str, **facts: Any) -> DiskFacts:
    return DiskFacts(
        **{
            "id": ID.format(number),
            "alias": alias,
            "size": 100,
            "format": "cow",
            "sparse": True,
            "storage_type": "image",
            **facts,
        }
    )


VM = VmFacts(
    "v",
    "web01",
    "up",
    "c",
    "Default",
    (4, 6),
    disks=(
        disk(1, "root"),
        disk(2, "data_swap", size=500),
        disk(3, "shared", shareable=True),
        disk(4, "lun", storage_type="lun"),
    ),
)


def split(**rules: Any) -> tuple[list[str], dict[str, str], set[str]]:
    chosen, skipped = choose_disks(VM, DiskRules(**rules))
    return (
        [d.alias for d in chosen],
        {s.alias: s.reason for s in skipped},
        {s.alias for s in skipped if s.expected},
    )


def test_what_cannot_be_read_is_left_with_its_reason() -> None:
    chosen, skipped, expected = split()
    assert chosen == ["root", "data_swap"]
    assert skipped == {"shared": "shareable", "lun": "direct LUN"}
    assert expected == set()
    assert split(unsupported="ignore")[2] == {"shared", "lun"}


def test_what_is_unwanted_is_left_by_alias_id_list_or_size() -> None:
    assert split(exclude=("*_swap",))[1]["data_swap"] == "excluded by *_swap"
    assert split(exclude=(ID.format(1).upper(),))[0] == ["data_swap"]
    assert split(exclude_ids=(ID.format(2).upper(), "another VM's"))[0] == ["root"]
    assert split(larger_than=499)[0] == ["root"]
    assert split(larger_than=500)[0] == ["root", "data_swap"]
    assert split(exclude=("lun",))[2] == {"lun"}, "it was said, so it is no surprise"


def test_a_disk_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="has no such disk"):
        split(exclude=(ID.format(9),))


def test_refused_where_all_must_be_in_it() -> None:
    with pytest.raises(VmNotSuitable, match=r"shared \(shareable\), lun \(direct LUN\)"):
        split(unsupported="refuse")
    assert split(unsupported="refuse", exclude=("shared", "lun"))[0] == ["root", "data_swap"]


def test_a_vm_without_any_disk_left_has_no_backup() -> None:
    with pytest.raises(VmNotSuitable, match="no disk that can be backed up"):
        choose(VM, CreateOptions(rules=DiskRules(exclude=("root", "data_swap"))))
