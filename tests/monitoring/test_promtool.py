"""Metrics and alerts as Prometheus' own `promtool` judges them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import reports

from borg_ovirt.jobs.report.metrics import metrics

HOOKS = Path(__file__).parents[2] / "hooks/prometheus"


def promtool(*words: str, text: str | None = None) -> str:
    found = shutil.which("promtool")
    assert found, "apt-get install prometheus"
    done = subprocess.run([found, *words], input=text, capture_output=True, text=True, cwd=HOOKS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_metrics_of_the_report_have_no_fault() -> None:
    assert promtool("check", "metrics", text=metrics(reports.report())) == ""


def test_the_metrics_of_a_run_have_no_fault(tmp_path: Path) -> None:
    made = {"repository": "/srv/a", "archive": "a", "bytes_added": 1}
    facts = {
        "started": "2026-06-30T02:00:00Z",
        "ended": "2026-06-30T03:00:00Z",
        "exit_status": 0,
        "repositories": [{"name": "local", "location": "/srv/a"}],
        "vms": [
            {
                "vm": reports.HOSTILE,
                "vm_id": "1",
                "status": "ok",
                "started": "2026-06-30T02:00:00Z",
                "seconds": 1,
                "size": 1,
                "bytes_read": 1,
                "warnings": [],
                "stored": [made],
            }
        ],
        "selected": [{"vm": reports.HOSTILE, "vm_id": "1"}, {"vm": "never", "vm_id": "2"}],
    }
    target = tmp_path / "x.prom"
    hook = [sys.executable, str(HOOKS / "textfile"), str(target)]
    subprocess.run(hook, input=json.dumps(facts), text=True, check=True)
    assert promtool("check", "metrics", text=target.read_text()) == ""


@pytest.mark.parametrize("words", [("check", "rules", "rules.yaml"), ("test", "rules", "rules.test.yaml")])
def test_the_alerts(words: tuple[str, ...]) -> None:
    assert "SUCCESS" in promtool(*words)
