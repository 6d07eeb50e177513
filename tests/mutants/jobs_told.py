"""Breakages of proofs, and of what people are told: messages, report, metrics."""

from __future__ import annotations

from mutants.mutant import of

_PROOF = "integration/operating/test_proof.py"
_PAGE = "unit/jobs/report/test_page.py"

_due = of("jobs/proof/due.py", "unit/jobs/proof/test_due.py")
_goes_on = of("jobs/proof/due.py", _PROOF)
_verify = of("jobs/proof/verify.py", _PROOF)
_here = of("jobs/proof/booting_here.py", "integration/operating/test_boot.py")
_notify = of("jobs/notify.py", "unit/jobs/test_notify.py")
_mailed = of("jobs/notify.py", "integration/operating/test_telling.py")
_todo = of("jobs/report/todo.py", _PAGE)
_metrics = of("jobs/report/metrics.py", "unit/hooks/test_prometheus.py")

MUTANTS = (
    _due(
        "oldest-archive-proven-first",
        "Of archives that never were proven the newest comes first.",
        "(not begun, last or _NEVER, age, info.name)",
        "(not begun, last or _NEVER, -age, info.name)",
    ),
    _goes_on(
        "proof-begins-anew",
        "A proof that ran out of time goes on where it was.",
        "return under_way.done if under_way is not None else 0",
        "return 0",
    ),
    _verify(
        "proofs-into-the-day",
        "After `until` nothing is begun and nothing read.",
        "return until is None or self._options.now() < until",
        "return True",
    ),
    _verify(
        "one-archive-fails-alone",
        "A rotten chunk spoils every archive that refers to it.",
        "if not self._seen.rotten:",
        "if self._seen.rotten or True:",
    ),
    _here(
        "guest-outlives-its-proof",
        "A proof that is killed takes QEMU with it.",
        'return [setpriv, "--pdeathsig", "KILL"] if setpriv else []',
        "return []",
    ),
    _notify(
        "recovery-untold",
        "The first run that does not fail after one that did is a recovery.",
        'elif before == "failed":',
        'elif before == "warning":',
    ),
    _notify(
        "address-shown",
        "No part of an address is told with what went wrong.",
        "        if len(part) >= _SHORTEST_PART:\n",
        "        if len(part) >= 99:\n",
    ),
    _mailed(
        "page-not-sent",
        "The page goes with what `report --mail` sends.",
        "                attach=files,\n",
        "                attach=None,\n",
    ),
    _todo(
        "warnings-not-looked-at",
        "A VM that is protected, with a warning, is among what to look at.",
        'if vm.grade in ("bad", "warn"):',
        'if vm.grade == "bad":',
    ),
    _metrics(
        "never-backed-up-unseen",
        "A VM that never succeeded has a value, too.",
        "vm.protection.selected or vm.protection.verdict",
        "vm.protection.archive or vm.protection.verdict",
    ),
)
