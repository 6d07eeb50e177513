"""What a run tells the engine's log; that it would not listen is told with its reason, and stops nothing."""

from __future__ import annotations

from typing import Any

import pytest

from borg_ovirt.errors import EngineRefused
from borg_ovirt.jobs.runs import audit


def test_why_an_event_was_not_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise EngineRefused("Cannot add an event: no right inject_external_events.")

    engine: Any = None
    told: list[str] = []
    monkeypatch.setattr(audit, "post_event", refuse)
    log = audit.Audit(engine, told.append)
    log.started("v-1", "web01")
    log.finished("v-1", "web01", "web01-1", "full", warned=False)
    assert (
        told
        == ["the engine did not take an event: Cannot add an event: no right inject_external_events."] * 2
    )
