"""What takes long is told, once, and by name; what takes too long is an error that says so."""

from __future__ import annotations

import pytest

from borg_ovirt.errors import Timeout
from borg_ovirt.ovirt.session import waiting
from borg_ovirt.ovirt.session.waiting import Patience


@pytest.mark.parametrize(("after", "told"), [(0.0, 1), (60.0, 0)])
def test_what_is_waited_for_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, after: float, told: int
) -> None:
    monkeypatch.setattr(waiting, "TELL", after)
    looks = iter([None] * 5 + ["there"])
    assert Patience(first=0.001).wait("the disk root to be unlocked", lambda: next(looks), 30) == "there"
    assert caplog.text.count("waiting for the disk root to be unlocked") == told


def test_in_vain() -> None:
    with pytest.raises(Timeout, match=r"Waited 0 s for the disk root, in vain"):
        Patience(first=0.001).wait("the disk root", lambda: None, 0)
