"""Commands of the administrator: told the facts, kept from secrets, ended in time."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from borg_ovirt.config.schema import Hook
from borg_ovirt.errors import HookFailed
from borg_ovirt.jobs.runs.hooks import Hooks, run_hook
from borg_ovirt.stopping import Stop


def hook(command: str | list[str], **more: Any) -> Hook:
    return Hook.model_validate({"when": "after-vm", "command": command, **more})


def test_facts_come_as_variables_and_as_json(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f'echo "$BORG_OVIRT_WHEN $BORG_OVIRT_VM_NAME $BORG_OVIRT_WARNINGS" > {out}; cat >> {out}'
    hooks = Hooks([hook(command)], {"run": "r1"})
    assert hooks.call("after-vm", {"vm_name": "web 01", "warnings": ["a", "b"]}) == []
    first, rest = out.read_text().split("\n", 1)
    assert first == "after-vm web 01 2"
    assert json.loads(rest) == {"when": "after-vm", "run": "r1", "vm_name": "web 01", "warnings": ["a", "b"]}


def test_facts_stay_json_whatever_others_wrote(tmp_path: Path) -> None:
    out = tmp_path / "out"
    facts = {"error": 'password: "x', "vm_name": "a\ud800\0" + "x" * 200_000, "vms": [{"n": 'token="y'}]}
    assert run_hook(hook(f"cat > {out}"), facts, print) is None
    told = json.loads(out.read_text())
    assert told["error"] == "password: ***"
    assert told["vms"] == [{"n": "token=***"}]


def test_only_the_hooks_of_the_point_run_in_their_order(tmp_path: Path) -> None:
    out = tmp_path / "out"
    hooks = Hooks(
        [
            hook(f"echo one >> {out}"),
            hook(f"echo other >> {out}", when="before-vm"),
            hook(f"echo two >> {out}"),
        ],
        {},
    )
    hooks.call("after-vm")
    assert out.read_text() == "one\ntwo\n"


def test_a_list_of_words_needs_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    assert run_hook(hook([sys.executable, "-c", code, str(out), "a $HOME b"]), {}, print) is None
    assert out.read_text() == "a $HOME b"


def test_secrets_are_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORG_PASSPHRASE", "tell nobody")
    monkeypatch.setenv("BORG_OVIRT_PASSWORD", "nor this")
    monkeypatch.setenv("HARMLESS", "fine")
    out = tmp_path / "out"
    assert run_hook(hook(f"env > {out}"), {}, print) is None
    text = out.read_text()
    assert "HARMLESS=fine" in text
    assert "tell nobody" not in text
    assert "nor this" not in text


def test_a_failure_warns_stops_or_is_ignored(tmp_path: Path) -> None:
    said: list[str] = []
    failing = "echo no disk left; exit 3"
    warnings = Hooks([hook(failing)], {}, said.append).call("after-vm")
    assert warnings == [f"the after-vm command {failing} ended with status 3: no disk left"]
    assert said == ["after-vm: no disk left"]
    assert Hooks([hook(failing, on_error="ignore")], {}).call("after-vm") == []
    marker = tmp_path / "ran"
    stopping = Hooks([hook(failing, on_error="stop"), hook(f"touch {marker}")], {})
    with pytest.raises(HookFailed, match="no disk left"):
        stopping.call("after-vm")
    assert not marker.exists()


def test_a_command_that_does_not_exist_is_told() -> None:
    problem = run_hook(hook(["/nowhere/command"]), {}, print)
    assert problem is not None
    assert "did not start: No such file" in problem


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "late"
    started = time.monotonic()
    problem = run_hook(hook(f"(sleep 30; touch {mark}) & sleep 30", timeout="1s"), {}, print)
    assert problem is not None
    assert "took longer than 1.0s and was ended" in problem
    assert time.monotonic() - started < 6  # the child holds the pipe: had it lived, this would take 30 s
    assert not mark.exists()


def test_a_signal_ends_the_command_it_meets_and_the_others_that_close_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    started = time.monotonic()
    hooks = Hooks([hook("kill -INT $PPID; sleep 60"), hook(f"touch {marker}")], {})
    with pytest.raises(KeyboardInterrupt):
        hooks.call("after-vm")
    assert marker.exists()
    assert time.monotonic() - started < 30
    before = [hook("kill -INT $PPID; sleep 60", when="before-vm"), hook("false", when="before-vm")]
    with pytest.raises(KeyboardInterrupt):
        Hooks(before, {}).call("before-vm")


def test_after_a_signal_no_command_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("borg_ovirt.jobs.runs.hooks.HURRIED", 0.2)
    hooks = Hooks([hook("sleep 60", timeout="900s")], {})
    hooks.hurry()
    (warning,) = hooks.call("after-vm")
    assert "took longer than 0.2s and was ended" in warning


def test_a_signal_is_heard_while_a_command_runs(tmp_path: Path) -> None:
    """Also in a thread that is not the main one; the command is ended."""
    stop, out = Stop(), tmp_path / "out"
    ended: list[BaseException] = []

    def work() -> None:
        try:
            with stop.heeded():
                run_hook(hook(f"echo begun > {out}; sleep 60; echo through >> {out}"), {}, print)
        except KeyboardInterrupt as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 20
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.ring(KeyboardInterrupt("SIGTERM"))
    thread.join(20)
    assert [str(error) for error in ended] == ["SIGTERM"]
    assert out.read_text() == "begun\n"
