"""Commands as processes of their own, forked from one that has imported everything: a second saved each time.

A forked child sets its environment, its directory and its standard streams and then runs the same entry point
as the console script, so exit status, output and signals are those of the real command.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import borg_ovirt

PRELOAD = [
    "borg.archiver",
    "ovirtsdk4.services",
    "ovirtsdk4.types",
    "requests",
    *(module.name for module in pkgutil.walk_packages(borg_ovirt.__path__, "borg_ovirt.")),
    "frozen",
]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(PRELOAD)


def run(
    program: str,
    arguments: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float = 240,
) -> tuple[int, str, str]:
    """Run `borg-ovirt` or `borg`: exit status, standard output, standard error; killed after `timeout`."""
    code, out, err = run_bytes(program, arguments, env, cwd, timeout)
    return code, out.decode(errors="replace"), err.decode(errors="replace")


def run_bytes(
    program: str,
    arguments: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float = 240,
) -> tuple[int, bytes, bytes]:
    """The same for output that is no text."""
    with tempfile.TemporaryDirectory() as name:
        streams = (os.path.join(name, "out"), os.path.join(name, "err"))
        child = _CONTEXT.Process(
            target=carry_out, args=(program, list(arguments), dict(env), str(cwd or os.getcwd()), streams)
        )
        child.start()
        child.join(timeout)
        late = child.is_alive()
        if late:
            child.kill()
            child.join()
        out, err = (Path(stream).read_bytes() if os.path.exists(stream) else b"" for stream in streams)
        if late:
            raise TimeoutError(f"{program} {arguments} ran for more than {timeout} s: {err!r}")
        assert child.exitcode is not None
        return child.exitcode, out, err


def carry_out(
    program: str, arguments: list[str], env: dict[str, str], cwd: str, streams: tuple[str, str]
) -> None:
    """In a process of its own: become that command."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for target, path in ((0, os.devnull), (1, streams[0]), (2, streams[1])):
        source = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(source, target)
        os.close(source)
    # Borg wraps the buffers of these streams, which closes with them: somebody must hold on to them.
    held = (
        os.fdopen(0, closefd=False),
        os.fdopen(1, "w", closefd=False),
        os.fdopen(2, "w", buffering=1, closefd=False),
    )
    sys.stdin, sys.stdout, sys.stderr = held
    sys.argv = [program, *arguments]
    try:
        if program == "borg":
            from borg.archiver import main
            from borg.crypto import key

            # The passphrases of tests need no stretching, which each opening of the repository pays for. As
            # in Borg's own tests: the number is kept with the key that it makes.
            key.PBKDF2_ITERATIONS = 1
        else:
            from borg_ovirt.cli import main
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
