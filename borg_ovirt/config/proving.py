"""The sections that say how archives are proven: the level of a VM, and what a run of `verify` may take."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from borg_ovirt.config.section import Section
from borg_ovirt.config.types import Duration, TimeOfDay


class ProofRules(Section):
    """How the archives of a VM are proven by `borg-ovirt verify`."""

    level: Literal["none", "structure", "data", "content", "restore", "boot"] = Field(
        "none",
        description="structure: manifest, OVF, every chunk there. data: every byte read and hashed. content: "
        "partition tables and file systems, too. restore: each disk into the engine and out again. boot: a "
        "scratch VM starts there, and its guest agent speaks.",
    )
    every: Duration = Field(
        "30d", validate_default=True, description="Prove an archive again when its last proof is older."
    )


class VerifySection(Section):
    """What one run of `borg-ovirt verify` may take. What was not proven for longest goes first."""

    per_run: int | None = Field(None, ge=1, description="Archives at most.", examples=[20])
    budget: Duration | None = Field(
        None,
        description="Stop reading after this time; the next run goes on there.",
        examples=["2h"],
    )
    until: TimeOfDay | None = Field(None, description="Stop reading at this time of day.", examples=["06:00"])
    check_repository: Duration | None = Field(
        None,
        description="Let Borg check the repository's own files for so long, from where it stopped last "
        "(`borg check --repository-only --max-duration`).",
        examples=["10m"],
    )
    after_create: bool = Field(
        False, description="A run of `create` over the configuration ends with `verify`."
    )
    storage_domain: str | None = Field(
        None, description="Where scratch disks are made, if not where the disk was.", examples=["scratch"]
    )
