"""Imported last by the process that commands are forked from: what it loaded is not searched for garbage."""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
