"""A breakage as data: which promise it breaks, where, how, and which tests are to notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Mutant:
    """One line (or a few) of one module, written wrongly."""

    file: str
    """Under `borg_ovirt/`."""
    tests: str
    """Words for pytest, each under `tests/`: as few and as quick ones as will notice."""
    name: str
    promise: str
    """What holds in the sound code, in one line."""
    old: str
    """Stands exactly once in the file; where it does not, the list is behind the code."""
    new: str
    survives: str = ""
    """Why no test can notice, where that is so."""

    @property
    def full_name(self) -> str:
        """The file's name too, so that whole rooms can be chosen."""
        return f"{self.file.removesuffix('.py')}:{self.name}"


def of(file: str, tests: str) -> Callable[..., Mutant]:
    """Makes the mutants of one module: `name, promise, old, new`."""
    return partial(Mutant, file, tests)


class Stale(Exception):
    """The text that a mutant changes is not in the code as the list says."""


def break_text(text: str, mutant: Mutant) -> str:
    """The module's text with the breakage in it."""
    count = text.count(mutant.old)
    if count != 1:
        raise Stale(f"its old text stands {count} times in {mutant.file}, not once")
    return text.replace(mutant.old, mutant.new)
