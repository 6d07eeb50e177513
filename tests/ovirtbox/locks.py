"""The engine's in-memory locks: a command takes all it needs at once, or hears the holder's words."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ovirtbox.faults import conflict

DISK = "disk"
VM = "vm"
VM_NAME = "vm name"
SNAPSHOT = "snapshot"

BUSY = "Related operation is currently in progress. Please try again later."


def told(action: str, message: str) -> str:
    """What is locked comes after a colon, every other reason after a full stop."""
    locked = message.startswith(("Disk is locked", "VM is locked", "The following disks are locked"))
    return f"{action}{':' if locked else '.'} {message}"


@dataclass(frozen=True)
class Want:
    """One lock: what is locked, how, and what others are told while it is held."""

    kind: str
    key: str
    exclusive: bool = True
    message: str = BUSY


def exclusive(kind: str, key: str, message: str = BUSY) -> Want:
    return Want(kind, key, True, message)


def shared(kind: str, key: str, message: str = BUSY) -> Want:
    return Want(kind, key, False, message)


class Locks:
    """Never waits. An owner (the id of the command's entity) may hold many locks, and take more later, but
    none twice: the same command given again meets the first one's lock.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: list[tuple[str, Want]] = []

    def take(self, owner: str, action: str, *wants: Want) -> None:
        """Take all of `wants`, or none and raise 409: `action` ("Cannot create Snapshot"), then why."""
        with self._guard:
            for want in wants:
                holder = self._in_the_way(want)
                if holder is not None:
                    raise conflict(told(action, holder.message))
            self._held += [(owner, want) for want in wants]

    def check(self, action: str, *wants: Want, owner: str = "") -> None:
        """Raise as `take` would, without taking."""
        with self._guard:
            for want in wants:
                holder = self._in_the_way(want, owner)
                if holder is not None:
                    raise conflict(told(action, holder.message))

    def drop(self, owner: str, kind: str | None = None, key: str | None = None) -> None:
        """Give back what `owner` holds: all, or only one kind, or only one lock."""
        with self._guard:
            self._held = [
                (who, want)
                for who, want in self._held
                if not (who == owner and kind in (None, want.kind) and key in (None, want.key))
            ]

    def held(self, kind: str, key: str, *, only_exclusive: bool = False) -> bool:
        with self._guard:
            return any(
                want.kind == kind and want.key == key and (want.exclusive or not only_exclusive)
                for _, want in self._held
            )

    def all(self) -> list[tuple[str, Want]]:
        with self._guard:
            return list(self._held)

    def clear(self) -> None:
        """An engine restart forgets every in-memory lock."""
        with self._guard:
            self._held.clear()

    def _in_the_way(self, want: Want, owner: str | None = None) -> Want | None:
        """What bars `want` from everybody but `owner`."""
        for who, other in self._held:
            same = who != owner and (other.kind, other.key) == (want.kind, want.key)
            if same and (want.exclusive or other.exclusive):
                return other
        return None
