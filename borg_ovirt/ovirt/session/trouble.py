"""How long a request that fails is made again: by what ails the engine, and by its signs of life."""

from __future__ import annotations

import logging
import time

from borg_ovirt.errors import BorgOvirtError, EngineUnreachable
from borg_ovirt.ovirt.session.faults import Ill, Verdict, is_lock
from borg_ovirt.ovirt.session.health import Health
from borg_ovirt.ovirt.session.waiting import TELL, Patience

log = logging.getLogger(__name__)

_LOOK = 1.0
"""Pauses shorter than this are too short to ask for the engine's health in between, in seconds."""
_AT_MOST = 3
"""So many times `patience.engine` an engine is waited for that shows life and never answers."""


class Trouble:
    """What one request met, from the first failure on."""

    def __init__(self, patience: Patience, health: Health) -> None:
        self._patience = patience
        self._health = health
        self._ill = Ill.NO
        self._since: float | None = None
        self._alive = 0.0
        self._told = False

    def met(self, verdict: Verdict) -> None:
        """A try has failed because the engine is ill."""
        now = time.monotonic()
        if self._since is None:
            self._since = self._alive = now
            self._patience.absence.begins(now)
        if verdict.ill is not self._ill:  # another answer than before: something moves
            self._ill, self._alive = verdict.ill, now
        if now - self._since > TELL and not self._told:
            log.warning("%s Asking again.", verdict.error.message)
            self._told = True

    def lasts_too_long(self, pause: float) -> bool:
        """Whether patience would be over after another pause."""
        assert self._since is not None
        now = time.monotonic()
        if self._ill is Ill.HICCUP:
            return now + pause - self._alive > min(self._patience.hiccup, self._patience.engine)
        if self._ill is Ill.SETTLING:
            return now + pause - self._alive > min(self._patience.settle, self._patience.engine)
        if pause > _LOOK and self._health.is_well():
            self._alive = now
        if now + pause - self._since > _AT_MOST * self._patience.engine:
            return True
        return now + pause - self._alive > self._patience.engine

    def final(self, error: BorgOvirtError) -> BorgOvirtError:
        """The error to raise when patience is over; an engine that calls itself ill needs a restart."""
        told = self._health.told()
        if not told or not isinstance(error, EngineUnreachable):
            return error
        return EngineUnreachable(
            f"{error.message.rstrip('.')}; {told}.", "It may have lost its database: restart ovirt-engine."
        )

    def over(self) -> None:
        """The request was answered, or given up."""
        if self._since is not None:
            self._patience.absence.ends()
            self._since = None
        if self._told:
            log.warning("the engine answers again")


class Locked:
    """How long somebody else's lock is waited for."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._told = False

    def may_pass(self, error: BorgOvirtError, pause: float) -> bool:
        """Whether the refusal is a lock, and there is patience for another pause."""
        if not is_lock(error):
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now + pause - self._since > self._seconds:
            return False
        if now - self._since > TELL and not self._told:
            log.warning("waiting: %s", error.message)
            self._told = True
        return True


class Lost:
    """How often a request is made again whose answers were lost, and of which nothing is to be seen."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since: float | None = None
        self.repeated = False
        """It was made again: there may be two."""

    @property
    def any(self) -> bool:
        """Whether an answer was lost."""
        return self._since is not None

    def too_often(self, pause: float) -> bool:
        """Another one was lost: whether patience would be over after another pause."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return now + pause - self._since > self._patience.engine
