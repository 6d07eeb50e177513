"""Who did what to an archive stands in the engine's own log; a hold has a reason, an end and a name."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from harness import Desk
from operating import SMALL, configure
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.config.schema import Config
from borg_ovirt.jobs.archives.prune import prune
from borg_ovirt.repository.layout import HoldRecord
from borg_ovirt.repository.open import open_repository


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return box.make_vm("audited", [DiskSpec(SMALL)], running=False)


def log(box: Box) -> list[tuple[str, str, bool]]:
    """Text, severity, and whether it names a VM, of what we told."""
    return [
        (e.description, e.severity, e.vm_id is not None)
        for e in box.engine.world.events
        if e.origin == "borg-ovirt"
    ]


def test_the_engines_log_tells_who_did_what(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk, retention={"last": 1})
    first = desk.create(vm)["archive"]
    second = desk.create(vm)["archive"]
    known = len(log(box))

    def fresh() -> list[tuple[str, str, bool]]:
        nonlocal known
        found = log(box)[known:]
        known += len(found)
        return found

    desk.run(
        "hold", f"local::{first}", "--reason", "before the upgrade", "--by", "anna", "--until", "30d"
    ).ok()
    ((text, severity, named),) = fresh()
    assert text.startswith(f"Archive {first} of VM audited is held until 20")
    assert text.endswith("by anna: before the upgrade.")
    assert (severity, named) == ("normal", True)
    desk.run("hold", "-n", f"local::{second}").ok()
    desk.run("hold", f"local::{first}").ok()  # it was already
    assert fresh() == []
    desk.run("release", f"local::{first}").ok()
    assert fresh() == [(f"Archive {first} of VM audited is released.", "normal", True)]
    desk.run("verify", "--level", "structure", f"local::{second}").ok()
    assert [t for t, _, _ in fresh()] == [
        f"Archive {second} of VM audited in local passed its proof (structure)."
    ]
    desk.run("prune").ok()
    assert fresh() == [(f"Archives of VM audited pruned from local: {first}.", "normal", True)]
    desk.run("extract", f"local::{second}", "--to", str(desk.root / "out")).ok()
    assert [t.split(" of VM audited was written into files of ")[0] for t, _, _ in fresh()] == [
        f"Archive {second}"
    ]
    desk.run("extract", f"local::{second}", "--name", "copy").ok()
    ((text, _, named),) = fresh()
    assert text.startswith(f"Restored from archive {second} of local: VM copy")
    assert named
    desk.run("extract", f"local::{second}", "--name", "copy").ok(40)
    ((text, severity, _),) = fresh()
    assert (text.split(":")[0], severity) == ("Restore of local", "error")
    desk.run("rollback", f"local::{second}", "--no-safety", "--yes").ok()
    assert [t for t, _, _ in fresh()] == [f"VM audited went back to archive {second} of local."]
    nowhere = {"BORG_OVIRT_URL": "https://127.0.0.1:1/ovirt-engine/api"}
    desk.run("hold", f"local::{second}", **nowhere).ok()  # its log is no reason not to


def test_a_hold_is_shown_and_ends_at_its_date(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk, retention={"last": 1})
    first = desk.create(vm)["archive"]
    second = desk.create(vm)["archive"]
    desk.run("hold", f"local::{first}", "--reason", "an audit", "--until", "2999-12-31").ok()
    assert "held until 3000-01-01 by " in desk.run("list", "local", TZ="UTC").ok().out
    assert ": an audit)" in desk.run("info", f"local::{first}").ok().out
    (line,) = [x for x in desk.run("list", "--json", "local").json["archives"] if x["archive"] == first]
    assert (line["hold"]["reason"], line["held"]) == ("an audit", True)
    desk.run("hold", f"local::{first}").ok()  # keeps its reason
    assert ": an audit)" in desk.run("info", f"local::{first}").ok().out
    for wrong in ("2020-01-01", "tomorrow"):
        assert desk.run("hold", f"local::{second}", "--until", wrong).code == 2
    desk.run("prune").ok()
    assert set(desk.archives()) == {first, second}
    now = datetime.now(timezone.utc)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in desk.env.items():
            patch.setenv(name, value)
        with open_repository(desk.repo, write=True) as repository:
            repository.hold([first], HoldRecord(since=now, reason="over", until=now - timedelta(days=1)))
            config = Config.model_validate({"retention": {"last": 1}})
            (keep,) = [
                x
                for x in prune(repository, config, None, now - timedelta(days=2), dry_run=True).lines
                if x.archive == first
            ]
            assert keep.rule == "held"  # it was still held then
    desk.run("prune").ok()
    assert set(desk.archives()) == {second}
