"""The schema of the configuration: the one place that says what may be written and what it means.

Checks, `config generate`, `config schema` and `docs/configuration.md` are all made from these models.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from borg_ovirt.config.connections import EngineSection, RepositorySection
from borg_ovirt.config.notifying import Notification
from borg_ovirt.config.proving import ProofRules, VerifySection
from borg_ovirt.config.restore import Restore
from borg_ovirt.config.section import Name, Section, Words
from borg_ovirt.config.types import Duration, GoneVms, MinFree, Room, Share, Size, TimeOfDay


class VmRules(Section):
    """Rules that name VMs. A VM is meant when any rule fits."""

    names: list[str] = Field(
        [], description="Names, or globs of names (`*`, `?`, `[a-z]`).", examples=[["web*", "db01"]]
    )
    ids: list[str] = Field([], description="VM ids.", examples=[["9d6e1a40-3f5c-4c52-9a0e-0d1c2b3a4f55"]])
    tags: list[str] = Field([], description="Tags of the engine.", examples=[["backup"]])
    clusters: list[str] = Field([], description="Names of clusters.", examples=[["Default"]])
    data_centers: list[str] = Field([], description="Names of data centers.", examples=[["Default"]])
    search: str | None = Field(
        None,
        description="A search of the engine, as in its web interface after `Vms:`.",
        examples=["cluster = Production and tag = backup"],
    )

    @property
    def empty(self) -> bool:
        """Whether the rules name nothing at all."""
        return not (self.names or self.ids or self.tags or self.clusters or self.data_centers or self.search)


class DiskRules(Section):
    """Disks to leave out. They are listed in the archive as skipped."""

    aliases: list[str] = Field(
        [], description="Aliases, or globs of aliases.", examples=[["*_swap", "scratch"]]
    )
    ids: list[str] = Field([], description="Disk ids.")
    larger_than: Size | None = Field(None, description="Disks with a larger virtual size.", examples=["4TiB"])


class Vms(Section):
    """Which VMs a run without REPO::VM backs up: those that `include` names, less those of `exclude`."""

    include: VmRules = Field(VmRules(), description="VMs to back up. Nothing named means every VM.")
    exclude: VmRules = Field(VmRules(), description="VMs to leave out, whatever includes them.")
    exclude_disks: DiskRules = Field(DiskRules(), description="Disks to leave out, on every VM.")


class Policy(Section):
    """How one VM is backed up."""

    mode: Literal["image", "chain"] = Field(
        "image",
        description="image: the disks at one instant, incremental by itself. chain: every layer of the "
        "snapshots.",
    )
    freeze: Literal["auto", "require", "never"] = Field(
        "auto",
        description="File systems in the guest: freeze when the agent can, refuse without it, or never "
        "freeze.",
    )
    backup_api: Literal["auto", "live"] = Field(
        "auto",
        description="auto: at level 4.7 what holds up least: a live or cold backup, which is soon over and "
        "locks the VM meanwhile, or a hybrid one, which works through a snapshot that is merged. live: never "
        "a hybrid one.",
    )
    lock_limit: Duration = Field(
        timedelta(minutes=2),
        description="For how long a backup may keep a VM from starting, stopping and migrating: what is "
        "likely to take longer is made as a hybrid backup. 0 always makes those.",
        examples=["2m"],
    )
    full_every: Duration | None = Field(
        None,
        description="Read a VM whole again when its last full read is older. Archives are complete either "
        "way.",
        examples=["90d"],
    )
    sample: Share = Field(
        0.001,
        description="Share of the unchanged blocks that is read all the same, to catch a wrong change map: "
        "a percentage, 0 or all.",
        examples=["0.1%"],
    )
    readers: int = Field(3, ge=1, le=8, description="Connections that read one disk at a time.", examples=[4])
    skipped_disks: Literal["warn", "ignore", "refuse"] = Field(
        "warn",
        description="A disk that cannot be backed up (direct LUN, shareable, managed block): back up the "
        "others "
        "and warn, or say nothing, or refuse the VM.",
    )
    strict: bool = Field(
        False, description="Whatever is less than asked for (a full instead of an incremental ...) warns."
    )
    expect: list[Literal["firmware", "memory", "changes"]] = Field(
        [],
        description="What is known and accepted, so that no run warns of it. firmware: UEFI variables and "
        "TPM state, which the engine does not give away. memory: that of snapshots, in chain mode. changes: "
        "nights on which the VM changes far more than on others.",
        examples=[["firmware"]],
    )
    max_age: Duration | None = Field(
        None,
        description="A VM whose last good archive is older is `old`, wherever it is shown.",
        examples=["26h"],
    )
    max_proof_age: Duration | None = Field(
        None,
        description="A VM of which no archive was proven for longer is `unproven`, wherever it is shown.",
        examples=["60d"],
    )
    verify: ProofRules = Field(ProofRules(), description="How its archives are proven by `verify`.")


class Limits(Section):
    """What a whole run may take from the engine and its storage."""

    until: TimeOfDay | None = Field(
        None, description="No VM is started after this time of day.", examples=["06:00"]
    )
    captures: int = Field(
        4,
        ge=1,
        le=32,
        description="VMs under way at a time: while the bytes of one are stored the engine prepares the next "
        "ones and ends the last. 1: one after the other.",
        examples=[8],
    )
    min_free: MinFree | None = Field(
        Room(share=0.1),
        description="Room that must stay free on each storage domain, before and during a backup: a full "
        "domain "
        "pauses every VM on it. null turns the guard off.",
        examples=["10%"],
    )
    rate_limit: Size | None = Field(
        None, description="Bytes per second that all disks together read.", examples=["200MiB"]
    )
    readers_per_domain: int | None = Field(
        None, ge=1, description="Connections at a time on one storage domain.", examples=[8]
    )
    readers_per_host: int | None = Field(
        None, ge=1, description="Connections at a time to one host.", examples=[8]
    )


class Retention(Section):
    """Which archives `prune` keeps, for each VM by its id. Any rule that fits keeps; without rules all stay.

    The newest good archive of a VM, held archives, and archives of others are kept whatever stands here.
    """

    within: Duration | None = Field(None, description="Everything younger than this.", examples=["2d"])
    last: int = Field(0, ge=0, description="The newest so many.", examples=[3])
    hourly: int = Field(0, ge=0, description="The last of each hour, for so many hours.", examples=[24])
    daily: int = Field(0, ge=0, description="The last of each day, for so many days.", examples=[14])
    weekly: int = Field(0, ge=0, description="The last of each week, for so many weeks.", examples=[8])
    monthly: int = Field(0, ge=0, description="The last of each month, for so many months.", examples=[12])
    yearly: int = Field(0, ge=0, description="The last of each year, for so many years.", examples=[5])
    gone_vms: GoneVms = Field(
        "keep",
        description="Archives of VMs the engine no longer knows: keep them all, prune them like the "
        "others, or "
        "a duration: remove them when the VM's newest archive is older.",
        examples=["keep"],
    )
    compact: bool = Field(True, description="Free the space after pruning, as `borg compact` does.")

    @property
    def keeps_everything(self) -> bool:
        """Whether no rule is written, so that nothing may be pruned."""
        return self.within is None and not any(
            (self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly)
        )


class Override(Section):
    """Other rules for some VMs. All overrides that fit a VM apply, later ones win key by key."""

    vms: VmRules = Field(description="The VMs that are meant.")
    policy: Policy = Field(Policy(), description="Keys that differ from the general policy.")
    retention: Retention | None = Field(
        None, description="A retention of their own, instead of the general one."
    )
    exclude_disks: DiskRules = Field(DiskRules(), description="Further disks to leave out.")

    @model_validator(mode="after")
    def _names_vms(self) -> Override:
        if self.vms.empty:
            raise ValueError("vms names no VM: an override for all VMs is the general policy")
        return self


class Hook(Section):
    """A command at a point of the run. Facts come as BORG_OVIRT_* variables and JSON on standard input."""

    when: Literal["before-run", "after-run", "before-vm", "after-vm", "on-success", "on-failure"] = Field(
        description="before-run, after-run: once. before-vm, after-vm: around each VM. on-success, "
        "on-failure: "
        "after a VM that went well, or did not.",
        examples=["after-run"],
    )
    command: Words = Field(
        description="The command, as a line for the shell or as a list of words.",
        examples=["/etc/borg-ovirt/hooks/ping"],
    )
    timeout: Duration = Field("60s", validate_default=True, description="It is ended after this time.")
    on_error: Literal["stop", "warn", "ignore"] = Field(
        "warn",
        description="When it fails: stop skips the VM (before-vm) or the run (before-run), and elsewhere "
        "fails it.",
    )


class Config(Section):
    """The whole file."""

    engines: dict[Name, EngineSection] = Field(
        {}, description="Engines, by a name of your choice (`--engine NAME`)."
    )
    default_engine: str | None = Field(
        None,
        description="The engine that is meant when none is named; needed with several.",
        examples=["main"],
    )
    repositories: dict[Name, RepositorySection] = Field(
        {}, description="Repositories, by a name that stands for the location: `borg-ovirt list offsite`."
    )
    vms: Vms = Field(Vms(), description="Which VMs a run backs up.")
    policy: Policy = Field(Policy(), description="How VMs are backed up.")
    limits: Limits = Field(Limits(), description="What a run may take.")
    retention: Retention = Field(Retention(), description="What `prune` keeps.")
    verify: VerifySection = Field(VerifySection(), description="What a run of `verify` may take.")
    restore: Restore = Field(Restore(), description="How `extract` restores.")
    overrides: list[Override] = Field(
        [],
        description="Other rules for some VMs.",
        examples=[
            [{"vms": {"tags": ["database"]}, "policy": {"freeze": "require"}, "retention": {"daily": 30}}]
        ],
    )
    hooks: list[Hook] = Field(
        [],
        description="Commands before and after.",
        examples=[
            [
                {
                    "when": "after-run",
                    "command": "/etc/borg-ovirt/hooks/ping",
                    "timeout": "30s",
                    "on_error": "warn",
                }
            ]
        ],
    )

    notify: list[Notification] = Field(
        [],
        description="Who is told how runs ended.",
        examples=[
            [
                {"url_file": "/etc/borg-ovirt/notify-url", "when": ["failure", "recovery"]},
                {
                    "url": "mailto://localhost:25?from=backup@example.org&to=admin@example.org",
                    "when": ["always"],
                    "jobs": ["verify"],
                    "title": "Proofs on $machine: $status",
                    "body": "$summary $problems",
                },
                {"url_command": "pass show ntfy/url"},
                {"url_credential": "notify-url"},
            ]
        ],
    )

    @model_validator(mode="after")
    def _default_exists(self) -> Config:
        if self.default_engine is not None and self.default_engine not in self.engines:
            raise ValueError(f"default_engine: no engine is named {self.default_engine}")
        return self
