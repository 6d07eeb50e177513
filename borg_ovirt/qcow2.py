"""The header of a qcow2 file: read, refused if it leads out of the file, its backing name exchanged."""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"QFI\xfb"
HEAD = 64 << 10
"""So many bytes from the start of a file hold its header and backing name, as QEMU writes them."""

_FIXED = struct.Struct(">4sIQIIQI")
"""Magic, version, offset and length of the backing name, cluster bits, virtual size, encryption: the same in
versions 2 and 3 (QEMU, docs/interop/qcow2.rst)."""
_THIRD = struct.Struct(">Q16xII")
"""Of version 3, from byte 72 on: incompatible features, width of refcounts, length of the header."""
_SECOND_LENGTH = 72
_EXTENSION = struct.Struct(">II")
_LONGEST_NAME = 1023
_EXTERNAL_DATA = 1 << 2
_KNOWN_FEATURES = 0b11111
"""Dirty, corrupt, external data, compression type, extended L2 entries."""
_DATA_FILE = 0x44415441
_BACKING_FORMAT = 0xE2792ACA
_FORMATS = (b"raw", b"qcow2")


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
    """Read the header from the first bytes of a file (`HEAD` of them, or all there are).

    `BadHeader` for what could make QEMU open another file than the parent named: whoever is given the file
    would be given that one. An encrypted file is refused too; oVirt makes none.
    """
    if len(head) < _FIXED.size:
        raise BadHeader(f"{len(head)} bytes hold no qcow2 header")
    magic, version, offset, length, bits, size, encrypted = _FIXED.unpack_from(head)
    if magic != MAGIC:
        raise BadHeader("it does not begin as a qcow2 file does")
    if version not in (2, 3):
        raise BadHeader(f"its qcow2 version is {version}")
    if not 9 <= bits <= 21:
        raise BadHeader(f"its clusters have 2^{bits} bytes")
    if encrypted:
        raise BadHeader("it is encrypted")
    header_length = _SECOND_LENGTH if version == 2 else _length_of_third(head)
    name = _backing_name(head, offset, length, 1 << bits) if offset else None
    _check_extensions(head, header_length, offset or 1 << bits)
    return Header(version, size, name, offset)


def _length_of_third(head: bytes | bytearray | memoryview) -> int:
    if len(head) < _SECOND_LENGTH + _THIRD.size:
        raise BadHeader(f"{len(head)} bytes hold no qcow2 header of version 3")
    features, _, length = _THIRD.unpack_from(head, _SECOND_LENGTH)
    if features & _EXTERNAL_DATA:
        raise BadHeader("it keeps its data in another file")
    if features & ~_KNOWN_FEATURES:
        raise BadHeader(f"it has features that are not known ({features:#x})")
    if length < _SECOND_LENGTH + _THIRD.size:
        raise BadHeader(f"its header has {length} bytes")
    return int(length)


def _backing_name(head: bytes | bytearray | memoryview, offset: int, length: int, cluster: int) -> str:
    if not 0 < length <= _LONGEST_NAME or offset < _FIXED.size or offset + length > cluster:
        raise BadHeader(f"its backing name lies at byte {offset} and has {length} bytes")
    if offset + length > len(head):
        raise BadHeader(f"its backing name at byte {offset} lies beyond the {len(head)} bytes at hand")
    try:
        return bytes(head[offset : offset + length]).decode()
    except UnicodeDecodeError:
        raise BadHeader("its backing name is no text") from None


def _check_extensions(head: bytes | bytearray | memoryview, start: int, end: int) -> None:
    """They lie between the header and the backing name, or the end of the first cluster."""
    while start + _EXTENSION.size <= end:
        if start + _EXTENSION.size > len(head):
            raise BadHeader("the extensions of its header go on beyond the bytes at hand")
        kind, length = _EXTENSION.unpack_from(head, start)
        if not kind:
            return
        start += _EXTENSION.size
        if length > end - start:
            raise BadHeader("an extension of its header is longer than the header")
        if kind == _DATA_FILE:
            raise BadHeader("it names another file for its data")
        # A driver by that name would open the parent, as whatever it takes it for.
        if kind == _BACKING_FORMAT and bytes(head[start : start + length]) not in _FORMATS:
            raise BadHeader("it names another format than raw or qcow2 for its parent")
        start += -(-length // 8) * 8


def backing_patch(header: Header, name: str) -> Patch:
    """What to write so that the file names another parent. Names of one length: image ids are."""
    if header.backing is None:
        raise BadHeader("it has no backing name that could be exchanged")
    data = name.encode()
    if len(data) != len(header.backing.encode()):
        raise BadHeader(f"backing name {header.backing} cannot give way to {name}: their lengths differ")
    return Patch(header.backing_offset, data)
