"""`make live`: each try with its outcome, what could not be tried and why, and that nothing is left."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.selftest.place import choose_place
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import heal
from borg_ovirt.ovirt.tracked.journal import Journal
from live.settings import Settings
from live.stage import Failed, Stage, fresh_repository
from live.tries import NotTried, Trial


def main() -> int:
    settings = Settings.read(os.environ)
    settings.directory.mkdir(parents=True, exist_ok=True)
    (settings.directory / "config.yaml").write_text("{}\n")
    (settings.directory / "hybrid.yaml").write_text("policy: {lock_limit: 0s}\n")
    state = settings.directory / "state"
    with Engine(settings.access) as engine, Journal(state, engine.instance_id, engine.run_id) as journal:
        heal(engine, state, print)  # of a run of ours that was killed
        print(f"engine {engine.full_version} at {engine.host}, run {engine.correlation}", flush=True)
        stage = Stage(settings, engine, journal)
        fresh_repository(stage)
        tally = Tally()
        try:
            for cluster in settings.clusters:
                _in_cluster(stage, cluster, tally)
        finally:
            left = [*stage.clear(), *stage.present()]
            shutil.rmtree(stage.repo, ignore_errors=True)
    return tally.end(left)


def _in_cluster(stage: Stage, cluster: str | None, tally: Tally) -> None:
    place = None
    for domain in stage.settings.domains or (None,):
        try:
            place = choose_place(stage.engine, cluster, domain)
            break
        except BorgOvirtError as error:
            why = error.message
    if place is None:
        tally.note(f"cluster {cluster}", "NOT TRIED", 0.0, why)
        return
    print(f"\n{place}", flush=True)
    trial = Trial(stage, place)
    for name, attempt in trial.all():
        if all(word not in name for word in stage.settings.only or ("",)):
            tally.note(name, "NOT TRIED", 0.0, "LIVE_ONLY leaves it out")
        else:
            tally.attempt(name, attempt)


class Tally:
    """What came of each try."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def attempt(self, name: str, attempt: Callable[[], str]) -> None:
        begun = time.monotonic()
        try:
            word, note = "ok", attempt()
        except NotTried as error:
            word, note = "NOT TRIED", str(error)
        except (Failed, BorgOvirtError) as error:
            word, note = "FAILED", str(error)
        except Exception as error:
            word, note = "FAILED", f"{type(error).__name__}: {error}"
        self.note(name, word, time.monotonic() - begun, note)

    def note(self, name: str, word: str, seconds: float, note: str) -> None:
        self.lines.append((name, word))
        print(f"{word:9} {name} ({seconds:.0f} s): {note}", flush=True)

    def end(self, left: list[str]) -> int:
        """The sum; 1 where something failed or stays."""
        counted = [word for _, word in self.lines]
        sums = [f"{counted.count(word)} {word.lower()}" for word in ("ok", "FAILED", "NOT TRIED")]
        print(f"\n{', '.join(sums)}.")
        for name in (name for name, word in self.lines if word == "NOT TRIED"):
            print(f"not tried: {name}")
        print("Left in the engine: " + ("; ".join(left) if left else "nothing."))
        return 1 if "FAILED" in counted or left else 0


if __name__ == "__main__":
    sys.exit(main())
