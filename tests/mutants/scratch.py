"""A copy of the checkout to break, and pytest run in it: nothing of the checkout itself is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mutants.mutant import Mutant, break_text

ROOT = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "demo", "*.egg-info", "bench")
_TEST_TIMEOUT = 60
_RUN_TIMEOUT = 600
FAILED = 1
"""The exit status of pytest when a test failed; others mean that the tests did not run as they should."""


@dataclass(frozen=True)
class Ended:
    """How pytest ended."""

    code: int
    """Its exit status."""
    output: str

    @property
    def first_failure(self) -> str:
        """The test that failed, as pytest names it."""
        for line in self.output.splitlines():
            if line.startswith(("FAILED ", "ERROR ")):
                return line.split(" ", 2)[1].removeprefix("tests/")
        return f"(hangs for {_TEST_TIMEOUT} s)"


class Scratch:
    """One copy, for one breakage at a time. Use as a context manager."""

    def __init__(self, root: Path = ROOT) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="mutants-"))
        shutil.copytree(root, self.path, ignore=_LEFT_OUT, dirs_exist_ok=True)
        self._package = self.path / "borg_ovirt"
        self._changes = 0

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """The breakage in its place, for the time of the context."""
        path = self._package / mutant.file
        text = path.read_text(encoding="utf-8")
        self._write(path, break_text(text, mutant))
        try:
            yield
        finally:
            self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        # Python takes a compiled module for fresh by its source's second: each change has one of its own.
        self._changes += 1
        when = path.stat().st_mtime + 10 * self._changes
        path.write_text(text, encoding="utf-8")
        os.utime(path, (when, when))

    def pytest(self, words: Sequence[str], *options: str, limit: float = _RUN_TIMEOUT) -> Ended:
        """Run these tests (named under `tests/`) until one fails; more than `limit` seconds are a failure."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=short", "-rfE", "-p", "no:cacheprovider"]
        command += ["-p", "mutants.quick", f"--timeout={_TEST_TIMEOUT}", "--timeout-method=thread", *options]
        try:
            done = subprocess.run(
                [*command, *(f"tests/{word}" for word in words)],
                cwd=self.path,
                env={**os.environ, "PYTHONPATH": f"{self.path}:{self.path / 'tests'}"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=limit,
                text=True,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            return Ended(FAILED, "")
        return Ended(done.returncode, done.stdout)
