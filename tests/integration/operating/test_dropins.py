"""What lies in hooks/ works as it lies there: systemd units, borgmatic, Prometheus, a ping."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import BIN, PASSPHRASE, Desk
from operating import SMALL, configure
from ovirtbox.box import MIB, Box, DiskSpec

HOOKS = Path(__file__).parents[3] / "hooks"


@pytest.fixture(scope="module")
def furnished(box: Box) -> Box:
    vm = box.make_vm("web01", [DiskSpec(SMALL)], running=False, tags=["production"])
    box.fill(box.disks(vm)[0], MIB, MIB, seed=1)
    box.make_vm("lun01", [DiskSpec(SMALL, storage_type="lun")], running=False)
    return box


class Monitor:
    """Takes pings."""

    def __init__(self) -> None:
        self.pings: list[tuple[str, str]] = []
        self.refuse = False
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                monitor.pings.append((self.path, body))
                self.send_response(500 if monitor.refuse else 200)
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/abc-secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    made = Monitor()
    yield made
    made.server.shutdown()
    made.server.server_close()


def metrics(path: Path) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in path.read_text().splitlines() if not line.startswith("#")]
    return {re.sub(r'vm_id="[^"]*",repository="[^"]*"', "", name): float(value) for name, value in lines}


def test_metrics_and_pings_of_runs(furnished: Box, desk: Desk, monitor: Monitor) -> None:
    url_file, prom = desk.root / "url", desk.root / "borg-ovirt.prom"
    url_file.write_text(monitor.url + "\n")
    ping = {"command": [str(HOOKS / "healthchecks/ping"), str(url_file)], "on_error": "warn"}
    hooks = [
        {"when": "before-run", **ping},
        {"when": "after-run", **ping},
        {"when": "after-run", "command": [str(HOOKS / "prometheus/textfile"), str(prom)]},
    ]
    configure(desk, hooks=hooks)
    made = desk.run("create", "--json", "--vm", "web01").ok().vm
    assert [path for path, _ in monitor.pings] == ["/abc-secret/start", "/abc-secret"]
    assert monitor.pings[1][1] == f"ok: web01 {made['archive']}"
    first = metrics(prom)
    assert first['borg_ovirt_vm_backup_ok{vm="web01",}'] == 1
    assert first['borg_ovirt_vm_size_bytes{vm="web01",}'] == SMALL
    assert first['borg_ovirt_vm_read_bytes{vm="web01",}'] == MIB
    assert first['borg_ovirt_vm_added_bytes{vm="web01",}'] == made["bytes_added"] > MIB
    assert first["borg_ovirt_run_exit_status"] == 0
    assert 0 < first['borg_ovirt_vm_backup_duration_seconds{vm="web01",}'] < 60
    # The other selected VM was never tried, and has its values all the same.
    assert first['borg_ovirt_vm_backup_ok{vm="lun01",}'] == 0
    assert first['borg_ovirt_vm_last_success_timestamp_seconds{vm="lun01",}'] == 0
    # A VM that fails has no success, and does not take away the other's.
    desk.run("create", "--vm", "lun01").ok(2)
    assert monitor.pings[-1][0] == "/abc-secret/fail"
    assert monitor.pings[-1][1].startswith("failed: lun01 VM lun01 has no disk")
    second = metrics(prom)
    assert second['borg_ovirt_vm_last_try_timestamp_seconds{vm="lun01",}'] > 0
    assert second['borg_ovirt_vm_last_success_timestamp_seconds{vm="lun01",}'] == 0
    web = 'borg_ovirt_vm_last_success_timestamp_seconds{vm="web01",}'
    assert second[web] == first[web]
    assert second["borg_ovirt_run_exit_status"] == 2
    assert prom.stat().st_mode & 0o777 == 0o644
    # One that is excluded has none any more, as soon as a run knows.
    configure(desk, hooks=hooks, vms={"exclude": {"names": ["lun01"]}})
    desk.run("create").ok()
    assert {name for name in metrics(prom) if "lun01" in name} == set()


def test_a_monitor_that_does_not_answer_is_a_warning_without_its_address(
    furnished: Box, desk: Desk, monitor: Monitor
) -> None:
    url_file = desk.root / "url"
    url_file.write_text(monitor.url)
    monitor.refuse = True
    command = [str(HOOKS / "healthchecks/ping"), str(url_file)]
    configure(desk, hooks=[{"when": "after-run", "command": command}])
    done = desk.run("create", "--vm", "web01").ok(1)
    assert "the monitor did not take the ping" in done.err
    assert "abc-secret" not in done.err + done.out
    assert len(monitor.pings) == 3


def test_the_monitor_hears_of_a_run_that_could_not_begin(desk: Desk, monitor: Monitor) -> None:
    url_file = desk.root / "url"
    url_file.write_text(monitor.url)
    command = [str(HOOKS / "healthchecks/ping"), str(url_file)]
    configure(desk, hooks=[{"when": "after-run", "command": command}])
    desk.run("create", "--username", "nobody@internal").ok(12)
    assert [path for path, _ in monitor.pings] == ["/abc-secret/fail"]
    assert "refused to log in" in monitor.pings[0][1]


def borgmatic(desk: Desk, *words: str) -> str:
    env = {name: value for name, value in desk.env.items() if name != "BORG_PASSPHRASE"}
    env["PATH"] = f"{BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(BIN / "borgmatic"), "--config", str(desk.root / "borgmatic.yaml"), "-v", "1", *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_borgmatic_runs_our_create_and_prune_and_its_own_check(furnished: Box, desk: Desk) -> None:
    passphrase = desk.root / "passphrase"
    passphrase.write_text(PASSPHRASE + "\n")
    local = {"location": desk.repo, "passphrase_file": str(passphrase)}
    exclude = {"exclude": {"names": ["lun*"]}}
    configure(desk, repositories={"local": local}, vms=exclude, retention={"last": 1})
    text = (HOOKS / "borgmatic/borg-ovirt.yaml").read_text()
    text = text.replace("/srv/borg/vms", desk.repo).replace("/etc/borg-ovirt/passphrase", str(passphrase))
    settings = {
        **yaml.safe_load(text),
        "local_path": str(BIN / "borg"),
        "borg_base_directory": str(desk.root),
    }
    settings["borg_base_directory"] = desk.env["BORG_BASE_DIR"]
    settings["user_runtime_directory"] = settings["user_state_directory"] = str(desk.root)
    (desk.root / "borgmatic.yaml").write_text(yaml.safe_dump(settings))
    first = desk.create("web01")["archive"]
    furnished.shift(hours=1)
    said = borgmatic(desk)
    (second,) = desk.archives()
    assert second.startswith("web01-")
    assert second != first  # ours pruned it by our rules; borgmatic's own prune has none and was skipped
    assert "Running consistency checks" in said
    # Every archive was looked at, by name: a pattern of borgmatic's own making fits none of ours.
    (checked,) = re.findall(r"^.*Analyzing archive (\S+)", said, re.MULTILINE)
    assert checked == second
    assert "Compacting segments" in said


UNITS = HOOKS / "systemd"
SERVICES = ("borg-ovirt", "borg-ovirt-prune", "borg-ovirt-verify", "borg-ovirt-check")


def unit_values(service: str, key: str) -> list[str]:
    text = (UNITS / f"{service}.service").read_text()
    return [line.split("=", 1)[1] for line in text.splitlines() if line.startswith(f"{key}=")]


def test_the_commands_of_the_services_run_with_their_credentials(furnished: Box, desk: Desk) -> None:
    credentials = desk.root / "credentials"
    credentials.mkdir()
    secrets = {"ovirt-password": furnished.password, "borg-passphrase": PASSPHRASE}
    for pair in unit_values("borg-ovirt", "LoadCredential"):
        name = pair.split(":")[0]
        (credentials / name).write_text(secrets[name])
    engine = {
        "url": furnished.url,
        "username": furnished.user,
        "ca_file": str(furnished.ca_file),
        "password_credential": "ovirt-password",
    }
    configure(
        desk,
        engines={"main": engine},
        repositories={"local": {"location": desk.repo, "passphrase_credential": "borg-passphrase"}},
        vms={"include": {"tags": ["production"]}},
        retention={"last": 1},
        policy={"verify": {"level": "data"}},
    )
    for name in [n for n in desk.env if n.startswith("BORG_OVIRT_") and n != "BORG_OVIRT_CONFIG"]:
        del desk.env[name]
    del desk.env["BORG_PASSPHRASE"]
    desk.env.update(CREDENTIALS_DIRECTORY=str(credentials), BORG_OVIRT_STATE_DIR=str(desk.root / "state"))
    create, prune, verify, check = (shlex.split(*unit_values(name, "ExecStart")) for name in SERVICES)
    assert [words[0] for words in (create, prune, verify, check)] == [*["borg-ovirt"] * 3, "borg"]
    assert "web01: archive web01-" in desk.run(*create[1:]).ok().err
    assert "0 archives removed, 1 kept." in desk.run(*prune[1:]).ok().out
    assert "1 passed" in desk.run(*verify[1:]).ok().out
    (setting,) = [shlex.split(each)[0] for each in unit_values("borg-ovirt-check", "Environment")]
    name, value = setting.split("=", 1)
    desk.env.update({name: value.replace("%d", str(credentials)), "BORG_REPO": desk.repo})
    desk.borg(*check[1:])


def test_services_differ_in_what_they_do_alone() -> None:
    """One failing does not keep another from running, and all are closed in as tightly."""
    own = ("Description", "Documentation", "After", "ExecStart", "SuccessExitStatus")
    texts = [(UNITS / f"{name}.service").read_text() for name in SERVICES]
    shared = [
        [line for line in text.splitlines() if line and not line.startswith(("#", *own))] for text in texts
    ]
    assert all(lines == shared[0] for lines in shared)
    for text in texts:
        assert not re.search(r"^(Requires|BindsTo|Requisite|PartOf|OnSuccess)=", text, re.MULTILINE)
    assert unit_values("borg-ovirt", "SuccessExitStatus") == ["1"]
    for name in ("borg-ovirt-prune", "borg-ovirt-verify"):
        assert unit_values(name, "SuccessExitStatus") == ["1"]
    for name in SERVICES:
        assert "WantedBy=timers.target" in (UNITS / f"{name}.timer").read_text()


def test_the_shell_of_root_has_what_the_services_have() -> None:
    """User, environment, credentials: as-borg-ovirt gives what the units give (`make packages` runs both)."""
    script = (UNITS / "as-borg-ovirt").read_text()
    (pairs,) = re.findall(r"for pair in (.*); do", script)
    for name in SERVICES:
        loaded = [value.replace("/etc/borg-ovirt/", "") for value in unit_values(name, "LoadCredential")]
        assert loaded == pairs.split()
        assert unit_values(name, "EnvironmentFile") == ["-/etc/borg-ovirt/environment"]
        assert unit_values(name, "User") == re.findall(r"^USER_NAME=(.*)", script, re.MULTILINE)
    assert '"$CONFIG/environment"' in script
    assert "CONFIG=/etc/borg-ovirt\n" in script
    environment = dict(re.findall(r"^(\w+)=(.*)", (UNITS / "environment").read_text(), re.MULTILINE))
    assert {"BORG_OVIRT_STATE_DIR", "BORG_BASE_DIR", "BORG_CACHE_DIR", "BORG_REPO"} <= set(environment)


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which("systemd-analyze")
    assert found, "tools/setup installs systemd"
    return subprocess.run([found, *map(str, words)], capture_output=True, text=True, check=False)


def test_systemd_understands_the_units_and_finds_them_closed_in(tmp_path: Path) -> None:
    names = [f"{service}.{kind}" for service in SERVICES for kind in ("service", "timer")]
    assert {path.name for path in UNITS.glob("borg-ovirt*")} == set(names)
    for name in names:
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(re.sub(r"(?m)^ExecStart=(borg\S*)", rf"ExecStart={BIN}/\1", text))
        assert all(re.match(r"(\[\w+\]|#.*|[A-Z]\w+=.*|)$", line) for line in text.splitlines())
    said = analyze("verify", "--man=no", *(tmp_path / name for name in names)).stderr
    assert [line for line in said.splitlines() if "borg-ovirt" in line] == []
    for service in SERVICES:
        # In tenths of systemd's exposure, from 0 to 100.
        offline = ("--offline=yes", "--threshold=20", UNITS / f"{service}.service")
        assert analyze("security", "--no-pager", *offline).returncode == 0, service


def test_hooks_around_each_vm_and_a_hook_that_stops(furnished: Box, desk: Desk) -> None:
    log = desk.root / "log"
    say = f'echo "$BORG_OVIRT_WHEN $BORG_OVIRT_VM_NAME $BORG_OVIRT_STATUS" >> {log}'
    whens = ("before-run", "before-vm", "on-success", "on-failure", "after-vm", "after-run")
    hooks = [{"when": when, "command": say} for when in whens]
    configure(desk, hooks=hooks)
    desk.run("create").ok(2)
    told = log.read_text().splitlines()
    assert told[0].split() == ["before-run"]
    assert told[-1].split() == ["after-run", "failed"]
    for name, word, status in (("web01", "on-success", "ok"), ("lun01", "on-failure", "failed")):
        mine = [line for line in told if f" {name} " in line]
        rest = [f"{word} {name} {status}", f"after-vm {name} {status}"]
        assert mine == [f"before-vm {name} not started", *rest]
    refuse = {"when": "before-vm", "command": "echo no backup during the freeze; false", "on_error": "stop"}
    configure(desk, hooks=[refuse])
    refused = desk.run("create", "--json", "--vm", "web01").ok(2).vm
    assert "no backup during the freeze" in refused["error"]
    configure(desk, hooks=[{**refuse, "when": "before-run"}])
    count = len(desk.archives())
    desk.run("create").ok(22)
    assert len(desk.archives()) == count


def test_the_facts_of_a_vm_come_as_json(furnished: Box, desk: Desk) -> None:
    out = desk.root / "facts.json"
    configure(desk, hooks=[{"when": "after-vm", "command": f"cat > {out}"}])
    desk.run("create", "--vm", "web01").ok()
    facts = json.loads(out.read_text())
    assert facts["when"] == "after-vm"
    assert facts["vm_name"] == "web01"
    assert facts["archive"] in desk.archives()
    assert facts["bytes_read"] == MIB
    assert facts["repository"] == desk.repo
