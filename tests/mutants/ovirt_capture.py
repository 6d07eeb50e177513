"""Breakages of an instant: how it is made, told and let go of."""

from __future__ import annotations

from mutants.mutant import of

_CAPTURE = "unit/ovirt/capture/test_capture_methods.py"
_CLEANUP = "unit/ovirt/tracked/test_cleanup_scripted.py"

_methods = of("ovirt/capture/methods.py", _CAPTURE)
_snapshot_method = of("ovirt/capture/snapshot_method.py", _CAPTURE)
_backup = of("ovirt/capture/backup.py", _CAPTURE)
_backups = of("ovirt/capture/backups.py", _CAPTURE)
_snapshot = of("ovirt/capture/snapshot.py", f"{_CAPTURE} {_CLEANUP}")

MUTANTS = (
    _snapshot_method(
        "thaw-after-success-only",
        "A guest is thawed whether or not the snapshot was taken.",
        "        finally:\n            self._thaw_guest()\n        self.instant",
        "        except OSError:\n            pass\n        self._thaw_guest()\n        self.instant",
    ),
    _snapshot_method(
        "freeze-not-journalled",
        "The journal knows of a freeze before the guest is frozen.",
        '        self._thaw = self._journal.intend("freeze", vm=self._vm.id, id=self._vm.id)\n        try:',
        '        self._thaw = Entry(0, "freeze", {})\n        try:',
    ),
    _snapshot_method(
        "refused-freeze-kept",
        "A guest that refused may be half frozen: it is thawed.",
        "            with suppress(EngineRefused):  # a guest without an agent refuses both\n"
        "                thaw(self._engine, self._vm.id)\n",
        "",
    ),
    _snapshot_method(
        "thaw-struck-out-first",
        "A thaw is struck out only when the engine has answered.",
        "        try:\n            thaw(self._engine, self._vm.id)\n",
        "        try:\n            self._thaw.done()\n            thaw(self._engine, self._vm.id)\n",
    ),
    _snapshot_method(
        "stopped-guest-frozen",
        "A VM that is down is not frozen.",
        'self._freeze = freeze if vm.status == "up" else "never"',
        "self._freeze = freeze",
    ),
    _snapshot_method(
        "missing-layer-read",
        "A disk of which the snapshot holds no layer is not read.",
        "        if image is None:\n            raise BackupFailed",
        '        if image == "":\n            raise BackupFailed',
    ),
    _snapshot(
        "snapshot-with-memory",
        "A temporary snapshot holds no memory.",
        "            persist_memorystate=False,\n",
        "",
    ),
    _snapshot(
        "locked-snapshot-read",
        "A snapshot is read when it is `ok`.",
        'return snapshot if str(snapshot.snapshot_status) == "ok" else None',
        "return snapshot",
    ),
    _snapshot(
        "failed-merge-is-gone",
        "A snapshot that is unlocked and still there was not merged.",
        "if seen_locked or time.monotonic() - started > engine.patience.unclear:",
        "if False:",
    ),
    _methods(
        "freeze-guessed",
        "What nobody told of a freeze is unknown.",
        'return "frozen" if mark.after(FROZEN, vm_id) else "unknown"',
        'return "frozen"',
    ),
    _methods(
        "failed-freeze-unheard",
        "A freeze that failed goes before one that came through.",
        '    if mark.after(NOT_FROZEN, vm_id):\n        return "not frozen"\n',
        "",
    ),
    _methods(
        "freeze-not-demanded",
        "Frozen file systems are demanded where the user demands them.",
        '(self._freeze == "require" or self._ask_kindly())',
        "self._ask_kindly()",
    ),
    _methods(
        "unfrozen-though-required",
        "Without freezing there is no backup where it is required.",
        '            if self._freeze == "require":\n                raise BackupFailed(',
        '            if self._freeze == "":\n                raise BackupFailed(',
    ),
    _methods(
        "full-taken-for-incremental",
        "A disk is as incremental as the engine says.",
        'if self.backup.modes.get(disk.id) == "incremental":',
        "if self._from_checkpoint is not None:",
    ),
    _methods(
        "failed-end-is-success",
        "A backup that fails at its end is told: the next one does not start from it.",
        '        if phase == "failed":\n            return [',
        '        if phase == "lost":\n            return [',
    ),
    _methods(
        "migrating-vm-captured",
        "Only a VM that is up or down is captured.",
        'if vm.status not in ("up", "down"):',
        'if vm.status in ("paused", "unknown"):',
    ),
    _methods(
        "preview-captured",
        "No VM is captured in a preview.",
        "    if vm.in_preview:\n        raise",
        "    if not vm.id:\n        raise",
    ),
    _backup(
        "lost-checkpoint-is-an-error",
        "A checkpoint that cannot be started from is told as lost: a full backup is to be made.",
        "refused = any(text in detail for text in _CHECKPOINT_REFUSALS)",
        "refused = detail in _CHECKPOINT_REFUSALS",
    ),
    _backup(
        "any-refusal-is-a-lost-checkpoint",
        "Another refusal is told as it is.",
        "refused = any(text in detail for text in _CHECKPOINT_REFUSALS)",
        "refused = bool(detail)",
    ),
    _backup(
        "wordless-refusal-is-a-lost-checkpoint",
        "A refusal without words means the checkpoint only if the engine no longer has it.",
        "        if self.from_checkpoint is not None and not self._held(self.from_checkpoint):",
        "        if self.from_checkpoint is not None and wordless:",
    ),
    _backups(
        "starting-backup-ended",
        "A backup that is starting is waited for before it is ended.",
        'return None if phase in ("initializing", "starting", "unknown") else phase',
        "return phase",
    ),
    _backups(
        "finalize-given-up",
        "The end of a backup waits for its transfers.",
        "            if error.status == 409:\n",
        "            if error.status == 409:\n                return True\n",
    ),
    _backup(
        "failed-backup-read",
        "A backup that failed is not read.",
        'if phase in ("failed", "gone", "finalizing", "succeeded"):',
        'if phase in ("gone", "finalizing", "succeeded"):',
    ),
)
