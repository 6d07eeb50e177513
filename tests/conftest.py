"""What holds for all tests: signals as a terminal would have them, and no example fails for being slow."""

from __future__ import annotations

import signal
import sys

from hypothesis import HealthCheck, settings

# A runner in the background hands down some that are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if "mutants.quick" not in sys.modules:  # that has a profile of its own
    settings.load_profile("untimed")
