"""A passphrase on its way to Borg: through a descriptor, so that no child process (ssh) inherits it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

read_once: dict[str, str] = {}
"""By descriptor what Borg read from it: Borg closes it, and its number may be another file's later."""


@contextmanager
def handed_over(secret: str) -> Iterator[None]:
    """Within this context Borg finds the passphrase, as often as it looks."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        stream.write(secret)
    os.environ["BORG_PASSPHRASE_FD"] = str(reading)
    try:
        yield
    finally:
        os.environ.pop("BORG_PASSPHRASE_FD", None)
        if read_once.pop(str(reading), None) is None:  # an unencrypted repository: nobody read it
            os.close(reading)
