"""What the engine answers becomes ours here: bounded, whole, and what it should be, or an error of ours.

The SDK reads whatever comes: it takes a body without end into memory, lets libxml2 write its complaints and
parts of the body to the terminal, and gives objects without ids to whoever asked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from xml.parsers import expat

from borg_ovirt.errors import EngineRefused

P = ParamSpec("P")
T = TypeVar("T")

LARGEST = 256 << 20
"""Bytes of an answer: ten thousand disks take some 50 MiB."""
_DEEPEST = 100


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


def check_xml(body: bytes) -> None:
    """`Nonsense` unless the body is one whole document, without a DTD and not too deep."""
    parser = expat.ParserCreate()
    depth = 0

    def start(tag: str, attributes: Any) -> None:
        nonlocal depth
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


def check_ids(found: Any) -> None:
    """`Nonsense` for an object, or one in a list, that is to be told by its id and has none."""
    import ovirtsdk4.types as types

    for one in found if isinstance(found, list) else (found,):
        if isinstance(one, types.Identified) and not isinstance(one, types.Action) and not one.id:
            raise Nonsense(f"a {type(one).__name__} in it has no id")


def understood(read: Callable[P, T]) -> Callable[P, T]:
    """For what reads the SDK's objects: a part that is missing or of another kind becomes `EngineRefused`."""

    @functools.wraps(read)
    def checked(*args: P.args, **options: P.kwargs) -> T:
        try:
            return read(*args, **options)
        except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as error:
            what = read.__name__.strip("_").replace("_", " ")
            raise EngineRefused(
                f"The engine's answer makes no sense ({what}: {error}).",
                "Is that an oVirt engine of 4.3 or later? --debug shows where.",
            ) from error

    return checked


def size(value: Any) -> int:
    """A size in bytes as the engine tells it, 0 where it tells none; ValueError for what none can be."""
    found = int(value or 0)
    if not 0 <= found < 1 << 63:
        raise ValueError(f"a size of {str(found)[:30]} bytes")
    return found
