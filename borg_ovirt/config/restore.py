"""How restores go: what takes the place of what at another site, and how many VMs come back at a time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from borg_ovirt.config.section import Section


class RestoreMap(Section):
    """A file for another site: names in the archives, and what takes their place. What is not named stays."""

    clusters: dict[str, str] = Field({}, description="Cluster -> cluster.")
    storage_domains: dict[str, str] = Field({}, description="Storage domain -> storage domain.")
    networks: dict[str, str] = Field({}, description="Network -> NETWORK, NETWORK/PROFILE, or none.")
    mac: Literal["keep", "new", "new-if-taken"] | None = Field(None, description="MAC addresses, as --mac.")


class Restore(Section):
    """How `extract` restores; `--all` brings every VM back."""

    map: str | None = Field(
        None,
        description="File that says what takes the place of which cluster, storage domain and network "
        "(docs/restoring.md).",
        examples=["/etc/borg-ovirt/second-site.yaml"],
    )
    order: list[str] = Field(
        [],
        description="With --all: names, or globs of names, of the VMs that come back first, in this order; "
        "of the others the one with the most data is begun first.",
        examples=[["dns*", "ldap", "db*"]],
    )
    vms_at_once: int = Field(2, ge=1, le=16, description="With --all: VMs that are restored at a time.")
    disks_at_once: int = Field(
        4, ge=1, le=64, description="Disks that are filled at a time, over all VMs.", examples=[4]
    )
