"""What a restore has made so far: removed again, latest first, when a later step fails."""

from __future__ import annotations

from borg_ovirt.ovirt.make.machines import MadeVm
from borg_ovirt.ovirt.make.made import Made
from borg_ovirt.progress import Progress


class Undo:
    """Knows of everything before it is asked for, so that whatever interrupts the request is unwound too."""

    def __init__(self, keep: bool, progress: Progress) -> None:
        self._keep = keep
        self._progress = progress
        self._made: list[Made] = []

    def make(self, made: Made) -> None:
        """Make it; from now on it is known."""
        self._made.append(made)
        made.make()

    def take_back(self, made: MadeVm) -> None:
        """Remove a VM to make it anew on the same disks."""
        made.remove_alone()
        self._made.remove(made)

    def forget(self) -> None:
        """All went well: what was made belongs to the user from now on."""
        while self._made:
            self._made.pop().keep()

    def hand_over(self) -> list[Made]:
        """All went well, and the caller removes it: what was made, in that order; the journal keeps it."""
        made, self._made = self._made, []
        return made

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not self._made:
            return
        if self._keep:
            self._progress.warn(f"kept: {', '.join(made.name for made in self._made)}")
            self.forget()
            return
        self.remove_all()

    def remove_all(self) -> None:
        """Remove what was made, latest first; what cannot be is told, and left to the journal."""
        trouble = []
        while self._made:
            made = self._made.pop()
            self._progress.step(f"removing {made.name} again")
            try:
                if not made.remove():
                    trouble.append(f"{made.name} is not there, but may come to be yet.")
            except Exception as problem:
                trouble.append(f"{made.name} could not be removed: {problem}")
        for text in trouble:
            self._progress.warn(f"{text} The next run tries again, or `borg-ovirt cleanup`.")
