"""What holds for all tests: signals as of a terminal, time to spare, no failure that spoils others."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

# A runner in the background hands down some that are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ["BORG_SELFTEST"] = "disabled"  # half of what a short borg command costs

settings.register_profile(
    "untimed", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if "mutants.quick" not in sys.modules:  # that has a profile of its own
    settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def secrets_are_hidden_in_the_test_that_told_them() -> Iterator[None]:
    """What a test takes for a secret is a word like any other to the next."""
    from borg_ovirt import redact

    known = set(redact._known)
    yield
    redact._known.intersection_update(known)


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a long table of cases (`@pytest.mark.thin(8)`) so many stay in the suite, always the same ones from
    all over it; `make soak` runs the rest."""
    tables: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("thin"):
            tables[item.nodeid.partition("[")[0]].append(item)
    for name, cases in tables.items():
        (keep,) = cases[0].get_closest_marker("thin").args  # type: ignore[union-attr]
        kept = random.Random(name).sample(range(len(cases)), min(keep, len(cases)))
        for place in set(range(len(cases))) - set(kept):
            cases[place].add_marker("soak")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test that failed left in the box that others share is ended."""
    report = yield
    if report.when == "call" and report.failed:
        from ovirtbox.box import Box
        from ovirtbox.sweep import sweep

        held = [getattr(value, "box", value) for value in getattr(item, "funcargs", {}).values()]
        for box in {id(box): box for box in held if isinstance(box, Box)}.values():
            if left := sweep(box):
                report.sections.append(
                    ("left in the box, for its neighbours to stumble over", "\n".join(left))
                )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the soak did in all, if it was run."""
    from soaking import COUNTS

    if COUNTS:
        terminalreporter.section("soak")
        for what, count in COUNTS.items():
            terminalreporter.write_line(f"{count:10} {what}")
