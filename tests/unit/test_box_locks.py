"""The box's locks of commands: none is taken twice, by whomever."""

from __future__ import annotations

import pytest
from ovirtbox.faults import Fault
from ovirtbox.locks import VM, Locks, exclusive


def test_a_command_given_again_meets_the_lock_of_the_first() -> None:
    locks = Locks()
    locks.take("remove checkpoint 1", "Cannot remove checkpoint", exclusive(VM, "vm"))
    with pytest.raises(Fault) as refused:
        locks.take("remove checkpoint 1", "Cannot remove checkpoint", exclusive(VM, "vm"))
    assert refused.value.status == 409
    locks.check("Cannot remove snapshot", exclusive(VM, "vm"), owner="remove checkpoint 1")
    locks.drop("remove checkpoint 1")
    locks.take("remove checkpoint 1", "Cannot remove checkpoint", exclusive(VM, "vm"))


def test_an_owner_takes_more_later() -> None:
    locks = Locks()
    locks.take("backup", "Cannot backup VM", exclusive(VM, "vm"))
    locks.take("backup", "Cannot backup VM", exclusive(VM, "other"))
    assert len(locks.all()) == 2
