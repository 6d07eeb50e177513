"""The header of a qcow2 file: what it says of the file, and its backing name exchanged. Nothing beyond it."""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"QFI\xfb"
HEAD = 64 << 10
"""So many bytes from the start of a file hold its header and backing name, as QEMU writes them."""

_FIXED = struct.Struct(">4sIQIIQ")
"""Magic, version, offset and length of the backing name, cluster bits, virtual size: the same in 2 and 3."""
_LONGEST_NAME = 1023
_FEATURES = struct.Struct(">Q")
_FEATURES_AT = 72
_EXTERNAL_DATA = 1 << 2


class BadHeader(ValueError):
    """The bytes are no qcow2 header that can be read."""


class Header(NamedTuple):
    """What a header says."""

    version: int
    virtual_size: int
    backing: str | None
    backing_offset: int
    """Where the name stands, in bytes from the start of the file; 0 without one."""


class Patch(NamedTuple):
    """Bytes to stand at an offset of a file in place of those that are there."""

    offset: int
    data: bytes


def read_header(head: bytes | bytearray | memoryview) -> Header:
    """Read the header from the first bytes of a file (`HEAD` of them, or all there are)."""
    if len(head) < _FIXED.size:
        raise BadHeader(f"{len(head)} bytes hold no qcow2 header")
    magic, version, offset, length, bits, size = _FIXED.unpack_from(head)
    if magic != MAGIC:
        raise BadHeader("it does not begin as a qcow2 file does")
    if version not in (2, 3):
        raise BadHeader(f"its qcow2 version is {version}")
    if not 9 <= bits <= 21:
        raise BadHeader(f"its clusters have 2^{bits} bytes")
    if version == 3 and len(head) >= _FEATURES_AT + _FEATURES.size:
        (features,) = _FEATURES.unpack_from(head, _FEATURES_AT)
        if features & _EXTERNAL_DATA:  # it could name any file of the machine that opens it
            raise BadHeader("it keeps its data in another file")
    if not offset:
        return Header(version, size, None, 0)
    if not 0 < length <= _LONGEST_NAME or offset < _FIXED.size or offset + length > 1 << bits:
        raise BadHeader(f"its backing name lies at byte {offset} and has {length} bytes")
    if offset + length > len(head):
        raise BadHeader(f"its backing name at byte {offset} lies beyond the {len(head)} bytes at hand")
    try:
        name = bytes(head[offset : offset + length]).decode()
    except UnicodeDecodeError:
        raise BadHeader("its backing name is no text") from None
    return Header(version, size, name, offset)


def backing_patch(header: Header, name: str) -> Patch:
    """What to write so that the file names another parent. Names of one length: image ids are."""
    if header.backing is None:
        raise BadHeader("it has no backing name that could be exchanged")
    data = name.encode()
    if len(data) != len(header.backing.encode()):
        raise BadHeader(f"backing name {header.backing} cannot give way to {name}: their lengths differ")
    return Patch(header.backing_offset, data)
