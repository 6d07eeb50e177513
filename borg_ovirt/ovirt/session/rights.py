"""The engine's permits that we need: what for, and on which object. Seen to suffice on 4.5.8.

The first word of each is the engine's own name of it, as in its roles.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Right:
    permit: str
    on: str
    """`System`, or `the data center` (or, more narrowly, clusters and storage domains below it)."""
    purpose: str
    requests: tuple[str, ...]
    """How the requests that need it are told: the words after "Cannot"."""

    @property
    def hint(self) -> str:
        return (
            f"Give the user a role with {self.permit} on {self.on}: it is needed to {self.purpose} "
            "(docs/operating.md, The role)."
        )


END_TRANSFERS = Right(
    "create_disk",
    "System",
    "end transfers and to make disks",
    ("finalize the transfer", "cancel the transfer", "finalize the upload", "make the disk"),
)
TRANSFER = Right(
    "edit_disk_properties",
    "the data center",
    "read and write disks",
    ("start the download", "start the upload"),
)
BACK_UP = Right(
    "backup_disk",
    "the data center",
    "back up disks and to remove checkpoints",
    ("start a backup", "finalize the backup", "remove the checkpoint", "delete the checkpoint"),
)
SNAPSHOT = Right(
    "manipulate_vm_snapshots",
    "the data center",
    "take and merge snapshots (hybrid backups, chains)",
    ("take a snapshot", "make the snapshot", "remove the snapshot"),
)
FREEZE = Right(
    "configure_vm_storage",
    "the data center",
    "freeze file systems and to change how disks are attached",
    ("freeze the file systems", "thaw the file systems", "deactivate the disk", "attach the disk"),
)
EVENTS = Right("inject_external_events", "System", "tell the engine's log about runs", ("add an event",))
IMPORT = Right("import_export_vm", "System", "restore VMs", ("import the VM",))
CREATE_VM = Right("create_vm", "the data center", "restore VMs", ())

TAGS = Right("tag_management", "System", "give restored VMs their tags", ("make the tag", "set the tag"))

SYSTEM_ROLE, CENTER_ROLE = "borg-ovirt-system", "borg-ovirt-data-center"
"""What the two roles of docs/operating.md are called."""

ALL = (END_TRANSFERS, TRANSFER, BACK_UP, SNAPSHOT, FREEZE, EVENTS, IMPORT, CREATE_VM, TAGS)
"""All but `login`, which the engine asks for at the door."""


def roles() -> dict[str, list[str]]:
    """The documented roles by name, with their permits: one on the system, one on data centers."""
    return {
        SYSTEM_ROLE: ["login", *(right.permit for right in ALL if right.on == "System")],
        CENTER_ROLE: ["login", *(right.permit for right in ALL if right.on != "System")],
    }


QUERY_FORBIDDEN = "query execution failed due to insufficient permissions"
QUERY_HINT = (
    "The user's role must be an administrative one (account type Admin): only such users may ask for "
    "backups, checkpoints, tags and transfers (docs/operating.md, The role)."
)


def hint_for(what: str) -> str:
    """Which right a refused request asks for; `what` completes "Cannot ..."."""
    if what.startswith("import the VM"):
        return f"{IMPORT.hint} {CREATE_VM.hint}"
    if what.startswith("start a backup"):
        return f"{BACK_UP.hint} A hybrid backup (level 4.7) needs {SNAPSHOT.permit} as well."
    found = next((right for right in ALL if what.startswith(right.requests)), None) if what else None
    return found.hint if found else "Give the user a role that allows it (docs/operating.md, The role)."
