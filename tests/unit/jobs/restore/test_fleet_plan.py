"""A whole site in one plan: the order, and what one VM is in the way of another for."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from borg_ovirt.blocks import GiB
from borg_ovirt.jobs.restore import fleet
from borg_ovirt.jobs.restore.again import Again
from borg_ovirt.jobs.restore.nics import NicPlan
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import DiskPlan, RestorePlan, VmPlan
from borg_ovirt.jobs.restore.restore import Prepared
from borg_ovirt.jobs.restore.site import Domain
from borg_ovirt.ovirt.facts.ovf import OvfNic

DATA = Domain("d", "data", False, 10 * GiB, "active", None)


def prepared(name: str, size: int = GiB, mac: str = "", disk: str = "", new_mac: bool = False) -> Prepared:
    source: Any = SimpleNamespace(record=SimpleNamespace(layers=(), run=None, actual_size=size))
    disks = DiskPlan(source, (), disk or str(uuid.uuid4()), "i", name, size, DATA, "raw", False)
    card = NicPlan(OvfNic("n", "nic1", "lan", mac or None), "lan", "lan", True, new_mac)
    vm = VmPlan(str(uuid.uuid4()), name, "c", "Default", {}, (card,), Again())
    plan = RestorePlan(name, disks=(disks,), vm=vm)
    nothing: Any = None
    return Prepared(nothing, nothing, nothing, RestoreOptions(), None, plan)


def test_those_named_first_then_the_longest() -> None:
    ready = [prepared("small"), prepared("db2", 2), prepared("large", 5 * GiB), prepared("dns1", 1)]
    ordered = fleet._in_order(ready, ["dns*", "db*"])
    assert [one.vm_name for one in ordered] == ["dns1", "db2", "large", "small"]


def blocked(*ready: Prepared) -> list[tuple[str, ...]]:
    return [one.plan.blockers for one in fleet._across(ready)]


def test_what_is_taken_by_one_before_it() -> None:
    first = prepared("a", mac="AA:00", disk="same")
    other = prepared("b", mac="aa:00", disk="same")
    assert blocked(first, other) == [
        (),
        (
            "VM a, which comes back too, has the MAC address aa:00",
            "VM a, which comes back too, has the disk same",
        ),
    ]
    assert blocked(first, prepared("a"))[1] == ("VM a, which comes back too, has the name a",)
    assert blocked(first, prepared("b", mac="aa:00", new_mac=True)) == [(), ()]


def test_room_is_counted_over_all() -> None:
    (_, _, why) = blocked(prepared("a", 4 * GiB), prepared("b", 4 * GiB), prepared("c", 4 * GiB))
    assert why == ("storage domain data has 10 GiB free, and with the VMs before it 12 GiB are needed",)
