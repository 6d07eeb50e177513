"""One run, however it is ordered: the same lock, hooks, run id, log of the engine, and end by a signal."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import PASSPHRASE, Desk
from operating import SMALL, configure, in_process, outcomes
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.config.schema import Limits
from borg_ovirt.jobs.backup.workers.messages import Spec
from borg_ovirt.jobs.backup.workers.repositories import SeveralRepositories
from borg_ovirt.jobs.runs.slots import try_lock
from borg_ovirt.progress import Progress

POINTS = ("before-run", "before-vm", "on-success", "on-failure", "after-vm", "after-run")


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    found = {}
    for number, name in enumerate(("alpha", "beta", "gamma")):
        vm = found[name] = box.make_vm(name, [DiskSpec(SMALL), DiskSpec(SMALL)], running=False)
        box.fill(box.disks(vm)[0], 0, 2 * MIB, seed=number)
        box.fill(box.disks(vm)[1], 0, MIB, seed=10 + number)
    return found


@pytest.fixture
def both(desk: Desk) -> list[str]:
    """Two repositories, as the configuration may name them."""
    other = str(desk.root / "other")
    desk.borg("init", "-e", "repokey-blake2", other)
    return [desk.repo, other]


def listening(desk: Desk) -> tuple[Path, list[dict[str, Any]]]:
    """Hooks at every point that write down what they are told."""
    log = desk.root / "hooks.log"
    command = f"told=$(cat); printf '%s\\n' \"$told\" >> {log}"
    return log, [{"when": when, "command": command} for when in POINTS]


def told(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def orders(desk: Desk, repositories: Sequence[str]) -> dict[str, list[str]]:
    """The same backup of alpha in every form of the command."""
    return {
        "one VM": [f"{repositories[0]}::alpha"],
        "one VM, several repositories": [f"{repository}::alpha" for repository in repositories],
        "configuration": ["--vm", "alpha", repositories[0]],
        "configuration, several repositories": ["--vm", "alpha", *repositories],
    }


FORMS = list(orders(Desk.__new__(Desk), ["", ""]))


@pytest.mark.thin(2)
@pytest.mark.parametrize("form", FORMS)
def test_hooks_log_and_run_id_are_the_same_in_every_form(
    box: Box, vms: dict[str, Vm], desk: Desk, both: list[str], form: str
) -> None:
    log, hooks = listening(desk)
    configure(desk, hooks=hooks)
    known_backups, known_events = set(box.world.backups), len(box.world.events)
    done = desk.run("create", "--json", *orders(desk, both)[form]).ok()
    facts = told(log)
    assert [fact["when"] for fact in facts] == [
        "before-run",
        "before-vm",
        "on-success",
        "after-vm",
        "after-run",
    ]
    (backup,) = (b for b in box.world.backups.values() if b.id not in known_backups)
    assert f"[{done.json['run']}" in backup.description
    assert {fact["run"] for fact in facts} == {done.json["run"]}
    events = [event.description for event in list(box.world.events)[known_events:]]
    assert f"Backup of VM alpha finished: archive {done.vm['archive']} (full)." in events
    # What the last hook hears is what the command prints.
    assert {name: facts[-1][name] for name in done.json} == done.json
    assert list(done.json) == [
        *("run", "engine", "status", "exit_status", "started", "ended"),
        *("repositories", "warnings", "error", "selected", "vms"),
    ]
    assert done.vm["bytes_read"] == 3 * MIB
    assert [stored["archive"] for stored in done.vm["stored"]] == [done.vm["archive"]] * len(
        done.json["repositories"]
    )
    desk.assert_clean()


@pytest.mark.thin(2)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_waits_for_a_vm_that_another_process_works_on(
    box: Box, vms: dict[str, Vm], desk: Desk, both: list[str], form: str
) -> None:
    known = set(box.world.backups)
    held = try_lock(desk.root / "state" / "vms" / f"{vms['alpha'].id}.lock")
    assert held is not None
    configure(desk)
    command = desk.command("create", "--no-progress", *orders(desk, both)[form])
    process = subprocess.Popen(
        command, env=desk.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "another process backs it up now" in line:
            assert set(box.world.backups) == known
            held.close()
    assert process.wait(60) == 0
    assert held.closed
    assert len(desk.archives()) == 1


@pytest.mark.thin(2)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("form", ["one VM", "configuration, several repositories"])
def test_a_signal_closes_what_was_begun(
    box: Box, vms: dict[str, Vm], desk: Desk, both: list[str], form: str, number: signal.Signals
) -> None:
    log, hooks = listening(desk)
    slow = {"when": "on-failure", "command": "sleep 600", "timeout": "900s"}
    configure(desk, hooks=[*hooks, slow] if number == signal.SIGHUP else hooks)
    known = len(box.world.events)
    words = orders(desk, both)[form]
    if form.startswith("configuration"):
        words = ["--vm", "beta", *words]
    command = desk.command("create", "--json", "--rate-limit", "64KiB", "--no-progress", *words)
    process = subprocess.Popen(
        command, env=desk.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    box.wait(lambda: any(t.phase == "transferring" for t in box.world.transfers.values()), "a transfer")
    process.send_signal(number)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 128 + number, err
    result = json.loads(out)
    name = number.name
    assert (result["status"], result["exit_status"]) == ("failed", 128 + number)
    assert result["error"] == f"ended by {name}"
    assert (result["vms"][0]["status"], result["vms"][0]["error"]) == ("failed", f"ended by {name}")
    assert {vm["error"] for vm in result["vms"][1:]} <= {None, f"ended by {name}"}
    facts = told(log)
    assert [facts[0]["when"], facts[-1]["when"]] == ["before-run", "after-run"]
    for vm in result["vms"]:
        mine = [fact["when"] for fact in facts[1:-1] if fact["vm_name"] == vm["vm"]]
        assert mine == ([] if vm["status"] == "not started" else ["before-vm", "on-failure", "after-vm"])
    assert facts[-1]["exit_status"] == 128 + number
    events = [event.description for event in list(box.world.events)[known:]]
    assert f"Backup of VM alpha failed: ended by {name}" in events
    assert desk.archives() == []
    desk.assert_clean()


def test_a_signal_tells_people_what_was_done(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    wait = {"when": "after-vm", "command": f"touch {desk.root}/alpha; sleep 600", "timeout": "900s"}
    configure(desk, hooks=[wait], limits={"captures": 1})
    command = desk.command("create", "--no-progress", "--vm", "alpha", "--vm", "beta")
    process = subprocess.Popen(
        command, env=desk.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    box.wait((desk.root / "alpha").exists, "the end of the first VM")
    process.terminate()
    out, err = process.communicate(timeout=90)
    assert process.returncode == 143, err
    assert "2 VMs: 1 ok, 1 not started." in out
    assert [name.split("-")[0] for name in desk.archives()] == ["alpha"]
    assert box.clean() == []  # what the engine still did the next run strikes out of the journal


def test_options_without_meaning_are_refused_by_name(vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk)
    place = f"{desk.repo}::alpha"
    for option, value in (("--vm", "alpha"), ("--tag", "web"), ("--shard", "1/2"), ("--until", "06:00")):
        refused = desk.run("create", option, value, place).ok(2)
        assert f"{option} is for runs over the configuration" in refused.err
    for words in (["--shard", "nonsense"], ["--shard", "4/3"]):
        assert "is not a shard" in desk.run("create", *words, place).ok(2).err
        assert "is not a shard" in desk.run("create", *words).ok(2).err
    assert "--shard has an empty value" in desk.run("create", "--shard", "", place).ok(2).err
    empty = desk.run("create", f"{desk.repo}::").ok(2)
    assert "has no name after `::`" in empty.err
    assert "has no name after `::`" in desk.run("prune", "--keep-last", "1", f"{desk.repo}::").ok(2).err
    assert "--mode chain" in desk.run("create", "--no-snapshot", place).ok(2).err
    desk.run("create", "--repo-stall", "1m", place).ok()
    assert len(desk.archives()) == 1


def test_the_rules_of_the_configuration_hold_for_a_vm_that_it_does_not_select(
    vms: dict[str, Vm], desk: Desk
) -> None:
    alias = desk.box.disks(vms["alpha"])[1].alias
    override = {
        "vms": {"names": ["alp*"]},
        "policy": {"sample": "all"},
        "exclude_disks": {"aliases": [alias]},
    }
    configure(desk, vms={"exclude": {"names": ["alpha"]}}, overrides=[override], limits={"until": "00:00"})
    place = f"{desk.repo}::alpha"
    rows = desk.run("create", "--dry-run", "--json", place).ok().json
    assert [(row["vm"], row["last"]) for row in rows] == [("alpha", None)]
    assert desk.archives() == []
    first = desk.run("create", "--json", place).ok().vm
    assert [disk["alias"] for disk in first["skipped"]] == [alias]
    later = desk.run("create", "--json", place).ok().vm
    assert later["kind"] == "incremental"
    assert later["disks"][0]["sampling"] == "all"
    rows = desk.run("create", "--dry-run", "--json", place).ok().json
    assert [row["last"] for row in rows] == [later["archive"]]
    assert "does not select" in desk.run("create", "--vm", "alpha").ok(2).err


def test_a_named_vm_ends_with_the_status_of_its_cause(vms: dict[str, Vm], desk: Desk) -> None:
    log, hooks = listening(desk)
    configure(desk, hooks=hooks)
    missing = desk.run("create", "--json", f"{desk.repo}::nobody").ok(14)
    assert missing.json["exit_status"] == 14
    assert "no VM named nobody" in missing.json["error"]
    assert [fact["when"] for fact in told(log)] == ["before-run", "after-run"]
    log.unlink()
    full = desk.run("create", "--json", "--min-free", "3TiB", f"{desk.repo}::alpha").ok(21)
    assert (full.json["exit_status"], full.json["error"]) == (21, None)
    assert full.vm["status"] == "failed"
    assert "3 TiB must stay free" in full.vm["error"]
    assert full.err.count("3 TiB must stay free") == 1
    assert told(log)[-1]["exit_status"] == 21
    assert outcomes(desk.run("create", "--json", "--vm", "alpha", "--min-free", "3TiB").ok(2).json) == {
        "alpha": "failed"
    }


@pytest.fixture
def borg_home(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BORG_BASE_DIR", "BORG_PASSPHRASE"):
        monkeypatch.setenv(name, desk.env[name])


def run_with_losses(
    desk: Desk, vms: dict[str, Vm], both: list[str], *names: str, captures: int = 1
) -> tuple[Any, list[str]]:
    """A run over all VMs; the process of the second repository dies while one of these is read."""
    specs = {location: Spec(location, passphrase=PASSPHRASE, lock_wait=20) for location in both}
    repositories = SeveralRepositories(specs, stall=60)
    fatal = {desk.box.disks(vms[name])[0].alias for name in names}
    warned: list[str] = []

    class Breaking(Progress):
        def warn(self, text: str) -> None:
            warned.append(text)

        def disk(self, name: str, size: int, to_read: int | None = None) -> Any:
            if name in fatal:
                repositories._pool.live[1].process.kill()
            return super().disk(name, size, to_read)

    limits = Limits(captures=captures)
    result = in_process(desk, progress=Breaking(), repositories=repositories, limits=limits)
    desk.assert_clean()
    return result, warned


def missed(result: Any) -> dict[str, list[bool]]:
    return {vm.vm: [stored.archive is None for stored in vm.stored] for vm in result.vms}


def test_a_repository_that_fails_is_opened_again_for_the_next_vm(
    vms: dict[str, Vm], desk: Desk, both: list[str], borg_home: None
) -> None:
    result, warned = run_with_losses(desk, vms, both, "alpha", "gamma")
    assert outcomes(result.facts()) == {"alpha": "warning", "beta": "ok", "gamma": "warning"}
    assert missed(result) == {"alpha": [False, True], "beta": [False, False], "gamma": [False, True]}
    assert sum("opening it again" in text for text in warned) == 1


def test_a_repository_that_fails_costs_the_others_under_way_nothing(
    vms: dict[str, Vm], desk: Desk, both: list[str], borg_home: None
) -> None:
    """They had asked it what to build on: it is opened again, and they are read again."""
    result, warned = run_with_losses(desk, vms, both, "alpha", captures=3)
    assert outcomes(result.facts()) == {"alpha": "warning", "beta": "ok", "gamma": "ok"}
    assert missed(result) == {"alpha": [False, True], "beta": [False, False], "gamma": [False, False]}
    assert sum("opening it again" in text for text in warned) == 1
    assert {state.error for state in result.repositories} == {None}


def test_a_repository_that_fails_twice_in_a_row_is_given_up(
    vms: dict[str, Vm], desk: Desk, both: list[str], borg_home: None
) -> None:
    result, warned = run_with_losses(desk, vms, both, "alpha", "beta")
    assert outcomes(result.facts()) == dict.fromkeys(("alpha", "beta", "gamma"), "warning")
    assert missed(result) == {name: [False, True] for name in vms}
    assert sum("opening it again" in text for text in warned) == 1
    here, there = result.repositories
    assert here.error is None
    assert "ended by itself" in there.error
    assert result.vms[2].stored[1].error == there.error
    assert (result.status, result.exit_status) == ("failed", 2)
