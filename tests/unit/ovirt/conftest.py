"""An engine that follows a script, and a session with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.journal import Journal
from unit.ovirt.script import HASTY, Script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Script()
    yield made
    made.close()
    assert made.unforeseen == []


@pytest.fixture
def engine(script: Script) -> Iterator[Engine]:
    access = EngineAccess(script.url, "backup@internal", "open sesame", timeout=10)
    with Engine(access, patience=HASTY) as opened:
        script.requests.clear()
        yield opened


@pytest.fixture
def journal(engine: Engine, tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "state", engine.instance_id, "0123456789ab") as opened:
        yield opened
