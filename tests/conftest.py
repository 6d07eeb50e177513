"""What holds for all tests: signals as of a terminal, time to spare, no failure that spoils others."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# A runner in the background hands down some that are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if "mutants.quick" not in sys.modules:  # that has a profile of its own
    settings.load_profile("untimed")


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
