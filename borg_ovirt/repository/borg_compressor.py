"""What Borg's key compresses with, where most chunks come compressed already: as frames of our threads."""

from __future__ import annotations

from typing import Any

from borg_ovirt.repository.frames import Frame


class FrameCompressor:
    """Takes the payload out of a frame; gives everything else to Borg's own compressor."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def compress(self, data: Any) -> Any:
        """What is to be encrypted and stored."""
        return data.payload if isinstance(data, Frame) else self._stock.compress(data)
