"""`python -m ovirtbox serve --dir DIR`: an oVirt in the foreground, until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ovirtbox.box import Box
from ovirtbox.samples import furnish


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(asctime)s %(name)s: %(message)s",
    )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Box.start(Path(options.dir), tick=options.tick, port=options.port, rhythm=options.rhythm) as box:
        if not options.empty:
            furnish(box)
        print(describe(box), flush=True)
        ended.wait()
        print("Stopping the box ...", flush=True)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ovirtbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run an oVirt in the foreground")
    serve.add_argument("--dir", required=True, help="where everything is kept; made if it is not there")
    serve.add_argument("--port", type=int, default=0, help="port of the API (default: a free one)")
    serve.add_argument("--tick", type=float, default=0.5, help="seconds of an engine tick (default: 0.5)")
    serve.add_argument("--rhythm", type=float, default=1.0, help="how slow, of a real engine (default: 1)")
    serve.add_argument("--empty", action="store_true", help="no sample VMs")
    serve.add_argument("-v", "--verbose", action="store_true", help="log every step")
    return parser.parse_args(arguments)


def describe(box: Box) -> str:
    """How to reach the box, last as lines to paste into a shell."""
    lines = [
        f"URL:            {box.url}",
        f"User:           {box.user}",
        f"Password file:  {box.password_file}",
        f"CA file:        {box.ca_file}",
    ]
    with box.world.lock:
        for vm in box.world.vms.values():
            shown = ", ".join(f"{d.alias} ({d.format}, {d.virtual_size >> 20} MiB)" for d in box.disks(vm))
            lines.append(f"VM {vm.name} ({vm.status}): {shown}")
    lines.append("")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in box.env().items()]
    lines += ["", "Ctrl-C stops it."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
