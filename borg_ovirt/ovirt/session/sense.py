"""What the engine answers becomes ours here: bounded, whole, and what it should be, or an error of ours.

The SDK reads whatever comes: it takes a body without end into memory, lets libxml2 write its complaints and
parts of the body to the terminal, and gives objects of any kind, without ids, to whoever asked. What these
checks let pass has the kinds that the SDK's readers give: what may be missing is `None`, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from xml.parsers import expat

from borg_ovirt.errors import EngineRefused

T = TypeVar("T")

LARGEST = 256 << 20
"""Bytes of an answer: ten thousand disks take some 50 MiB."""
_DEEPEST = 100
_COLLECTIONS = {
    "affinitygroups",
    "affinitylabels",
    "backups",
    "cdroms",
    "checkpoints",
    "clusterlevels",
    "clusters",
    "datacenters",
    "diskattachments",
    "disks",
    "disksnapshots",
    "domains",
    "events",
    "groups",
    "hosts",
    "imagetransfers",
    "macpools",
    "networks",
    "nics",
    "permissions",
    "quotas",
    "roles",
    "snapshots",
    "storagedomains",
    "tags",
    "templates",
    "users",
    "vms",
    "vnicprofiles",
}
"""Those whose answers are held against the path: each is called as its path is, by the SDK's readers."""
_ACTIONS = {
    "activate",
    "cancel",
    "deactivate",
    "extend",
    "finalize",
    "freezefilesystems",
    "pause",
    "resume",
    "shutdown",
    "start",
    "stop",
    "thawfilesystems",
}
_IDS = {"_id", "_image_id", "_parent_id", "_from_checkpoint_id", "_to_checkpoint_id"}
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,127}")
"""UUIDs, save for the numbers of events and the like."""


class Nonsense(Exception):
    """An answer that is none of the API's; the request may have been carried out all the same."""


class Bounded:
    """Takes the bytes of an answer, up to a bound; then libcurl is told to break off, and `full` says why."""

    def __init__(self, write: Callable[[bytes], int], largest: int = LARGEST) -> None:
        self.full = False
        self._write = write
        self._left = largest

    def __call__(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            self.full = True
            return 0
        return self._write(data)


def check_xml(body: bytes) -> str:
    """The root of the body; `Nonsense` unless that is one whole document, without a DTD and not too deep."""
    parser = expat.ParserCreate()
    depth = 0
    root = ""

    def start(tag: str, attributes: Any) -> None:
        nonlocal depth, root
        root = root or tag
        depth += 1
        if depth > _DEEPEST:
            raise Nonsense("its elements are nested too deep")

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: object) -> None:
        raise Nonsense("it has a DTD")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two for its encoding
        raise Nonsense(f"it is cut off or no XML ({error})") from None
    return root


def check_kind(root: str, method: str, path: str) -> None:
    """`Nonsense` unless the answer's root is what the request asks for: the SDK makes an object of whatever
    root there is, and a disk in place of a VM would be found out only where it is used.

    `/vms` is answered by `vms`; `/vms/ID`, and what is added to `/vms`, by a `vm`; `/vms/ID/start` by an
    `action`. Of collections that are not listed here nothing is known: not all are called as their path is
    (`/vms/ID/numanodes` is answered by `vm_numa_nodes`, read in the API's model).
    """
    parts = path.strip("/").split("/")
    if not parts[0]:
        expected, found = "api", root
    elif method == "POST" and parts[-1] in _ACTIONS:
        expected, found = "action", root
    else:
        whole = method == "GET" and len(parts) % 2 == 1
        expected = parts[-1] if whole or method == "POST" else parts[-2]
        if expected not in _COLLECTIONS:
            return
        found = root.replace("_", "") if whole else f"{root.replace('_', '')}s"
    if found != expected:
        raise Nonsense(f"it is a {root[:40]}, where {path[:80] or 'the API'} was asked for")


def check_parts(found: Any) -> None:
    """`Nonsense` unless each object has its id, and every id could be one: ids become paths in the archive,
    names of files and parts of URLs.
    """
    import ovirtsdk4.types as types

    for one in found if isinstance(found, list) else (found,):
        if not isinstance(one, types.Struct):  # what an action gives back, or nothing
            continue
        if isinstance(one, types.Identified) and not isinstance(one, types.Action) and not one.id:
            raise Nonsense(f"a {type(one).__name__} in it has no id")
        _check_ids(one, types.Struct)


def _check_ids(one: Any, struct: type) -> None:
    for name, value in vars(one).items():
        if isinstance(value, struct):
            _check_ids(value, struct)
        elif isinstance(value, list):
            for inner in value:
                if isinstance(inner, struct):
                    _check_ids(inner, struct)
        elif name in _IDS and isinstance(value, str) and value and not _ID.fullmatch(value):
            raise Nonsense(f"{value[:60]!r} is no id of a {type(one).__name__}")


def told(value: T | None, what: str) -> T:
    """A part of an answer that cannot be done without; `EngineRefused` if the engine left it out."""
    if value is None:
        raise EngineRefused(
            f"The engine's answer makes no sense: it tells no {what}.",
            "Is that an oVirt engine of 4.3 or later?",
        )
    return value


def size(value: Any) -> int:
    """A size in bytes as the engine tells it, 0 where it tells none; `EngineRefused` for what none can be."""
    found = int(value or 0)
    if not 0 <= found < 1 << 63:
        raise EngineRefused(f"The engine's answer makes no sense: a size of {str(found)[:30]} bytes.")
    return found
