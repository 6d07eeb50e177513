"""Archive names: a slug of the VM's name and the time. Identity is never the name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from datetime import datetime, timezone

_LONGEST_SLUG = 80
_CHECKPOINT = re.compile(r"\.checkpoint(\.\d+)?$")


def archive_name(vm_name: str, when: datetime, taken: Collection[str]) -> str:
    """`Web 01` at noon -> `Web-01-2026-11-22T120000Z`, with `-2`, `-3` ... where that is taken."""
    name = f"{slug(vm_name)}-{when.astimezone(timezone.utc):%Y-%m-%dT%H%M%SZ}"
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def may_be_later(name: str, vm_name: str, than: str) -> bool:
    """Whether an archive of which only the name is known may be of that VM, and later than another one."""
    start, form = f"{slug(vm_name)}-", re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z(-\d+)?")
    rest = name.removeprefix(start)
    return rest != name and form.fullmatch(rest) is not None and rest > than.removeprefix(start)


def slug(text: str) -> str:
    """The text in letters, digits, dots, dashes and underscores that no shell, URL or Borg pattern minds."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", plain)
    # Borg takes any name with this word in it for an unfinished archive and hides it from its lists.
    plain = re.sub(r"\.+checkpoint", "-checkpoint", plain)
    return plain[:_LONGEST_SLUG].strip("-._") or "vm"


def is_checkpoint_name(name: str) -> bool:
    """Whether Borg wrote the archive under this name as a checkpoint of an unfinished one."""
    return _CHECKPOINT.search(name) is not None
