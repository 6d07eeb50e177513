"""The kinds of values in a manifest and in a comment, and how strictly they are taken."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from borg_ovirt.blocks import LARGEST_CELL


def _in_utc(when: datetime) -> datetime:
    if when.tzinfo is None:
        raise ValueError("a time without its zone")
    try:
        return when.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("a time beyond the years that can be told") from None


Uuid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]
Bytes = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 63)]
Cell = Annotated[int, Field(strict=True, gt=0, le=LARGEST_CELL)]
Flag = Annotated[bool, Field(strict=True)]
When = Annotated[datetime, AfterValidator(_in_utc)]
Mode = Literal["image", "chain"]
Kind = Literal["full", "incremental"]


class Record(BaseModel):
    """Unknown keys are refused: a key we do not know is a newer layout or somebody's hand."""

    model_config = ConfigDict(extra="forbid", frozen=True)
