"""Metrics: of runs, by the hook; of all that stands, by the report; alerts and dashboard that fit them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reports
import yaml

from borg_ovirt.jobs.report.metrics import metrics

HOOKS = Path(__file__).parents[3] / "hooks"
NAME = re.compile(r"\bborg_ovirt_[a-z_]+")
UNITS = ("_seconds", "_bytes", "_ratio", "_info", "_per_second")
COUNTS = {
    *("vm_backup_ok", "vm_backup_warnings", "vm_protected", "vm_failed_proofs", "vm_damaged_archives"),
    *("vm_archives", "vm_held_archives", "vm_unusual_change", "run_exit_status", "run_vms", "engine_up"),
    *("repository_up", "repository_archives", "repository_findings"),
}
"""Names without a unit: what is counted, or yes and no."""
Values = dict[tuple[str, str], float]


def parsed(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by name. Each family has HELP and TYPE before it, and comes once; no sample comes twice."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    head: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            _, what, name, _ = line.split(" ", 3)
            assert name not in found
            head = [*head, what] if what == "TYPE" else [what]
            continue
        match = re.fullmatch(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)', line)
        assert match, line
        assert head == ["HELP", "TYPE"], line
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
        samples = found.setdefault(match[1], [])
        assert labels not in [known for known, _ in samples], line
        samples.append((labels, float(match[3])))
    return found


def run(target: Path, *, selected: list[str] | None, **ended: str) -> dict[str, dict[str, float]]:
    """One run in which these VMs ended so; name of each metric -> VM (or nothing) -> value."""
    vms = [
        {
            "vm": name,
            "vm_id": f"id-{name}",
            "status": status,
            "started": "2026-06-30T02:00:00Z",
            "seconds": 60.0,
            "size": 1000,
            "bytes_read": 100,
            "warnings": ["w"] if status == "warning" else [],
            "stored": []
            if status == "failed"
            else [{"repository": "/srv/a", "archive": f"{name}-1", "bytes_added": 10}],
        }
        for name, status in ended.items()
    ]
    facts: dict[str, Any] = {
        "started": "2026-06-30T02:00:00Z",
        "ended": "2026-06-30T03:00:00Z",
        "exit_status": 0,
        "repositories": [{"name": "local", "location": "/srv/a"}],
        "vms": vms,
        "selected": None if selected is None else [{"vm": n, "vm_id": f"id-{n}"} for n in selected],
    }
    hook = [sys.executable, str(HOOKS / "prometheus/textfile"), str(target)]
    subprocess.run(hook, input=json.dumps(facts), text=True, check=True)
    told: dict[str, dict[str, float]] = {}
    for name, samples in parsed(target.read_text()).items():
        told[name.removeprefix("borg_ovirt_")] = {labels.get("vm", ""): value for labels, value in samples}
    return told


def test_a_value_for_every_selected_vm_and_none_for_others(tmp_path: Path) -> None:
    prom = tmp_path / "x.prom"
    first = run(prom, selected=["web", "new", "db"], web="ok", db="failed")
    assert first["vm_backup_ok"] == {"web": 1, "new": 0, "db": 0}
    assert first["vm_last_success_timestamp_seconds"] == {"web": 1782784860, "new": 0, "db": 0}
    assert first["vm_last_try_timestamp_seconds"]["new"] == 0
    assert first["vm_last_try_timestamp_seconds"]["db"] > 0
    assert first["vm_added_bytes"] == {"web": 10}
    # A run over some leaves the others as they were; one that knows of no selection too.
    second = run(prom, selected=["web", "new", "db"], db="warning")
    assert second["vm_backup_ok"] == {"web": 1, "new": 0, "db": 1}
    assert second["vm_backup_warnings"] == {"web": 0, "db": 1}
    assert run(prom, selected=None, extra="ok")["vm_backup_ok"] == {"web": 1, "new": 0, "db": 1, "extra": 1}
    # What is selected no more rings no more.
    third = run(prom, selected=["web"], web="failed")
    assert {vm for name, values in third.items() if name.startswith("vm_") for vm in values} == {"web"}
    assert third["vm_backup_ok"] == {"web": 0}
    assert third["vm_last_success_timestamp_seconds"]["web"] == 1782784860


def test_a_renamed_vm_is_one_vm(tmp_path: Path) -> None:
    prom = tmp_path / "x.prom"
    run(prom, selected=["web"], web="ok")
    text = prom.read_text().replace('vm="web"', 'vm="old name"')
    prom.write_text(text)
    assert run(prom, selected=None, web="ok")["vm_backup_ok"] == {"web": 1}
    prom.write_text(text)
    assert run(prom, selected=["web"])["vm_backup_ok"] == {"web": 0}


def test_metrics_of_the_report(tmp_path: Path) -> None:
    report = reports.report()
    told = parsed(metrics(report))
    to_back_up = [vm for vm in report.vms if vm.protection.selected]
    ok = told["borg_ovirt_vm_protected"]
    assert len(ok) == len(to_back_up) == 11
    by_vm = {labels["vm"]: value for labels, value in ok}
    assert (by_vm["web01"], by_vm["erp-db"], by_vm["new-intranet"]) == (1, 0, 0)
    times = {labels["vm"]: value for labels, value in told["borg_ovirt_vm_archive_timestamp_seconds"]}
    assert times["new-intranet"] == 0
    assert times["erp-db"] == pytest.approx(reports.NOW.timestamp() - 3.4 * 86400)
    assert {labels["vm"] for labels, _ in told["borg_ovirt_vm_archive_timestamp_seconds"]}.isdisjoint(
        {"scratch01", "retired"}
    )
    assert sum(value for _, value in told["borg_ovirt_vm_unusual_change"]) == 1
    free = told["borg_ovirt_repository_free_bytes"]
    assert [labels["repository"] for labels, _ in free] == ["local"]  # the other is far away
    names = [labels["vm"] for labels, _ in ok]
    assert [name for name in names if "alert(1)" in name] == ["<script>alert(1)</script>\\\"'&\u202e\x1b[2J"]
    silent = replace(report, engine_error="no answer", vms=[])
    assert parsed(metrics(silent))["borg_ovirt_engine_up"] == [({"engine": "engine.example"}, 0)]


def names_made() -> set[str]:
    hook = (HOOKS / "prometheus/textfile").read_text()
    table = hook[hook.index("HELP = {") : hook.index("NEVER")]
    from_runs = {f"borg_ovirt_{name}" for name in re.findall(r'^    "(\w+)":', table, re.MULTILINE)}
    from_report = set(parsed(metrics(reports.report())))
    assert not from_runs & from_report, "one metric in two files is refused by the node exporter"
    return from_runs | from_report


def test_names_tell_their_unit() -> None:
    odd = {name for name in names_made() if not name.endswith(UNITS)}
    assert odd == {f"borg_ovirt_{name}" for name in COUNTS}


def test_alerts_and_their_tests_use_what_there_is() -> None:
    known = names_made()
    rules = yaml.safe_load((HOOKS / "prometheus/rules.yaml").read_text())["groups"][0]["rules"]
    used = {name for rule in rules for name in NAME.findall(rule["expr"])}
    assert used <= known
    tests = yaml.safe_load((HOOKS / "prometheus/rules.test.yaml").read_text())["tests"]
    fed = {name for test in tests for one in test["input_series"] for name in NAME.findall(one["series"])}
    assert used <= fed <= known
    # Each alert is seen both silent and ringing.
    asked = [one for test in tests for one in test["alert_rule_test"]]
    for alert in {rule["alert"] for rule in rules}:
        told = {bool(one.get("exp_alerts")) for one in asked if one["alertname"] == alert}
        assert told == {True, False}, alert


def test_the_dashboard_asks_for_what_there_is() -> None:
    board = json.loads((HOOKS / "grafana/dashboard.json").read_text())
    known = names_made()
    assert board["schemaVersion"] >= 36
    assert (board["uid"], board["title"]) == ("borg-ovirt", "borg-ovirt")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 8
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert panel["description"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            used = set(NAME.findall(target["expr"]))
            assert used
            assert used <= known, panel["title"]
            assert target["expr"].count("(") == target["expr"].count(")")
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert set(variables) == {"datasource", "repository", "vm"}
    asked = [one["query"]["query"] for one in variables.values() if one["type"] == "query"]
    assert {name for query in asked for name in NAME.findall(query)} <= known
