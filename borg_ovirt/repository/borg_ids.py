"""How Borg names things: chunks by their bytes and the key, archives and repositories for people."""

from __future__ import annotations

from typing import Any

from borg.crypto.key import ID_HMAC_SHA_256, ID_BLAKE2b_256
from borg.helpers import bin_to_hex

from borg_ovirt.errors import RepositoryError
from borg_ovirt.repository import frames


def archive_id(id_: bytes) -> str:
    """An id as people see it."""
    return str(bin_to_hex(id_))


def id_hash(key: Any) -> frames.IdHash:
    """How this key names the bytes of a chunk."""
    if isinstance(key, ID_BLAKE2b_256):
        return frames.blake2b_id(key.id_key)
    if isinstance(key, ID_HMAC_SHA_256):
        return frames.hmac_sha256_id(key.id_key)
    if key.ARG_NAME == "none":
        return frames.sha256_id
    raise RepositoryError(f"Chunk ids of Borg's encryption {key.ARG_NAME} are not known to borg-ovirt.")
