"""An answer of the engine over plain HTTP, where its shape matters."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def root(self) -> ET.Element:
        return ET.fromstring(self.body)

    @property
    def html(self) -> bool:
        """An error page instead of the API's XML."""
        return self.headers.get("Content-Type", "").startswith("text/html")

    @property
    def detail(self) -> str | None:
        """Of the fault, wrapped in an action or not."""
        root = self.root
        fault = root if root.tag == "fault" else root.find("fault")
        assert fault is not None, self.body
        return fault.findtext("detail")


Call = Callable[..., Answer]
