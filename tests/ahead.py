"""Commands at another time: a process whose `datetime` can be days ahead, which forks for each command.

`python -m ahead` reads orders as lines of JSON and answers each with an exit status. Months of nights pass so
in minutes, and what is judged by its age is judged as it will be. Monotonic clocks go on as they do.
"""

from __future__ import annotations

import datetime as module
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "TESTS_AHEAD_SECONDS"
_REAL = module.datetime
_TIME = time.time


def _ahead() -> float:
    return float(os.environ.get(VARIABLE) or 0)


class _Meta(type(_REAL)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _REAL)


class _Shifted(_REAL, metaclass=_Meta):
    """The real class, but for what time it is."""

    __slots__ = ()

    @classmethod
    def now(cls, tz: module.tzinfo | None = None) -> Any:
        return _REAL.now(tz) + module.timedelta(seconds=_ahead())

    @classmethod
    def utcnow(cls) -> Any:
        return _REAL.utcnow() + module.timedelta(seconds=_ahead())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.datetime_schema()


def _serve() -> None:
    module.datetime = _Shifted  # type: ignore[misc]
    time.time = lambda: _TIME() + _ahead()
    import zygote

    for name in zygote.PRELOAD:
        with suppress(ImportError):  # as the fork server does: one is for nbdkit's own Python
            importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                zygote.carry_out(**order)
            except SystemExit as ended:
                os._exit(ended.code if isinstance(ended.code, int) else 1)
            except BaseException:
                traceback.print_exc()
                os._exit(70)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Later:
    """Runs commands as `zygote.run` does, so many seconds from now."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "ahead"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self.seconds = 0.0

    def run(
        self, program: str, arguments: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
    ) -> tuple[int, str, str]:
        with tempfile.TemporaryDirectory() as name:
            streams = (os.path.join(name, "out"), os.path.join(name, "err"))
            order = {
                "program": program,
                "arguments": list(arguments),
                "env": {**env, VARIABLE: str(self.seconds)},
                "cwd": str(cwd or os.getcwd()),
                "streams": streams,
            }
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            out, err = (Path(stream).read_text(errors="replace") for stream in streams)
        return code, out, err

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)


if __name__ == "__main__":
    _serve()
