"""What the imageio daemon answers becomes ours here: bounded in length and depth, and every value checked.

Its JSON is another program's, over a line that others may sit on. A word in place of `true` would turn data
into zeros, and a list of lists took gigabytes: what is not as the protocol has it is an error, never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import TransferFailed

LARGEST = 1 << 20
"""Bytes of an answer, save for the list of extents, which is read as a stream."""
_LARGEST_ITEM = 64 << 10
_BLOCK = 64 << 10
_MOST = 1 << 63
"""No offset is beyond, in bytes: QEMU's and the kernel's own bound."""
_BETWEEN = re.compile(r"[\s,]*")


class BrokeOff(Exception):
    """A list of extents ended before its end: worth another try."""


class Features(NamedTuple):
    """What the daemon says it can do for the ticket."""

    names: frozenset[str]
    max_readers: int
    max_writers: int
    socket: str | None = None
    """Where it listens for clients on its own host; a leading @ or NUL names an abstract socket."""


def parse(data: bytes) -> Any:
    """The JSON of a short answer; None if it is empty. ValueError for anything else."""
    if not data.strip():
        return None
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("too deep") from None


def features(reply: Any, name: str) -> Features:
    """The answer to OPTIONS. Raises `TransferFailed`; `name` is what is moved, for the message."""
    reply = {} if reply is None else reply
    if not isinstance(reply, dict):
        raise _nonsense(name, "its features are no object")
    names = reply.get("features", [])
    if not isinstance(names, list):
        raise _nonsense(name, "its features are no list")
    path = reply.get("unix_socket")
    if path is not None and not isinstance(path, str):
        raise _nonsense(name, "the name of its socket is no text")
    return Features(
        frozenset(word for word in names if isinstance(word, str)),
        _count(reply, "max_readers", name),
        _count(reply, "max_writers", name),
        path or None,
    )


def checksum(reply: Any, name: str) -> str:
    """The answer to a request for a checksum."""
    found = reply.get("checksum") if isinstance(reply, dict) else None
    if not isinstance(found, str):
        raise _nonsense(name, "its checksum is no text")
    return found


def extents(read: Callable[[int], bytes], name: str) -> Iterator[Extent]:
    """The list of extents as it comes, from byte 0 on without gaps; memory is bounded by one block of it.

    Raises `BrokeOff` when the stream ends within the list, `TransferFailed` when it is no such list.
    """
    decode = json.JSONDecoder().raw_decode
    text, at, end = "", 0, 0
    opened = listed = False
    blank = 0
    while block := read(_BLOCK):
        try:
            text, at = text[at:] + block.decode("ascii"), 0
        except UnicodeDecodeError:
            raise _nonsense(name, "its extents are no ASCII text") from None
        while True:
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches anything
            sign = text[at : at + 1]
            if not sign:
                blank += len(block)
                if blank > _LARGEST_ITEM:
                    raise _nonsense(name, "its extents are blank")
                break
            blank = 0
            if sign == "[" and not opened:
                opened, at = True, at + 1
                continue
            if sign == "]" and opened:
                return
            if sign != "{" or not opened:
                raise _nonsense(name, "its extents are no list of objects")
            try:
                item, at = decode(text, at)
            except (ValueError, RecursionError):
                if len(text) - at > _LARGEST_ITEM:
                    raise _nonsense(name, f"an extent at byte {end} is no object") from None
                break  # the rest of it is in the next block
            extent = _extent(item, name)
            if extent.start != end:
                raise TransferFailed(f"The extents of {name} have a gap at byte {end}.")
            if not extent.length and listed:  # one stands for an empty disk; a list of them has no end
                raise _nonsense(name, f"the extent at byte {end} is empty")
            end, listed = extent.end, True
            yield extent
    raise BrokeOff("the list of extents broke off")


def _extent(item: Any, name: str) -> Extent:
    start, length = item.get("start"), item.get("length")
    zero, dirty = item.get("zero"), item.get("dirty", True)
    if type(start) is not int or type(length) is not int or start < 0 or not 0 <= length < _MOST - start:
        raise _nonsense(name, f"an extent has start {_short(start)} and length {_short(length)}")
    if not isinstance(zero, bool) or not isinstance(dirty, bool):
        raise _nonsense(name, f"the extent at byte {start} does not say whether it is zero, or dirty")
    return Extent(start, length, zero, dirty)


def _count(reply: dict[str, Any], key: str, name: str) -> int:
    value = reply.get(key, 1)
    if type(value) is not int or not 0 < value < 1 << 16:
        raise _nonsense(name, f"{key} is {_short(value)}")
    return value


def _short(value: Any) -> str:
    return json.dumps(value)[:40]


def _nonsense(name: str, what: str) -> TransferFailed:
    return TransferFailed(
        f"The imageio daemon answers what makes no sense for {name}: {what}.",
        "Look at the version of ovirt-imageio on that host, and at its daemon.log.",
    )
