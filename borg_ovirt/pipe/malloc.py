"""Memory settings of a process that moves chunks: to be made at its start.

The C library is told to keep the memory of large blocks instead of giving it back after each. Borg makes
several objects of a chunk's size for every chunk. By default glibc maps and unmaps each of them, and the
kernel zeroes it page by page: a third of the CPU time of a full backup.

Python is told to look for cyclic garbage rarely: there is next to none, but a hundred thousand objects of
imported modules and of lists of chunks are looked through each time. It saves 0.2 CPU seconds of each run.
"""

from __future__ import annotations

import ctypes
import gc
import os

KEEP = 128 << 20
"""Free memory at the end of the heap that is kept, in bytes."""
LARGEST = 32 << 20
"""Smaller blocks come from the heap: the largest value that glibc takes."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def tune_malloc() -> None:
    """Both settings."""
    gc.set_threshold(100_000, 20, 100)
    keep_memory()


def keep_memory() -> bool:
    """To be called before the first thread; tells whether it took effect. MALLOC_* variables go before it."""
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    # One arena: what a reader thread has freed serves the thread that stores.
    wanted = ((_MMAP_THRESHOLD, LARGEST), (_TRIM_THRESHOLD, KEEP), (_ARENA_MAX, 1))
    return all(mallopt(option, value) for option, value in wanted)
