"""Breakages of what is known of our own objects: journals, and cleaning up after dead runs."""

from __future__ import annotations

from mutants.mutant import of

_CLEANUP = "unit/ovirt/tracked/test_cleanup_scripted.py"
_MADE = "unit/ovirt/make/test_made.py"

_journal = of("ovirt/tracked/journal.py", "unit/ovirt/tracked/test_ovirt_journal.py")
_objects = of("ovirt/tracked/objects.py", f"unit/ovirt/tracked/test_objects.py {_MADE}")
_cleanup = of("ovirt/tracked/cleanup.py", _CLEANUP)
_tagged = of("ovirt/tracked/tagged.py", _CLEANUP)
_made = of("ovirt/make/made.py", _MADE)

MUTANTS = (
    _journal(
        "not-synced",
        "What is about to be made is on the disk before it is.",
        "            os.fsync(self._file.fileno())",
        "            pass",
    ),
    _journal(
        "name-not-synced",
        "So is the journal's name.",
        "        _sync_directory(self.directory)",
        "        pass",
    ),
    _journal(
        "visible-before-locked",
        "A journal is locked before anybody can see it: unlocked it is a dead run's.",
        "draft = self.path.with_suffix(",
        "draft = self.path if self.path else self.path.with_suffix(",
    ),
    _journal(
        "living-run-ended",
        "The journal of a living run is left alone.",
        "                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "                with suppress(BlockingIOError):\n"
        "                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
    ),
    _journal(
        "journal-removed-too-early",
        "What is open at the end stays in the journal.",
        "return\n            if not self._open:\n                self.path",
        "return\n            if self._count:\n                self.path",
    ),
    _journal(
        "torn-line",
        "A line that a crash cut off is passed over.",
        "except (ValueError, KeyError, TypeError, RecursionError):",
        "except (KeyError, TypeError, RecursionError):",
    ),
    _journal(
        "open-directory",
        "Nobody else reads the journals.",
        "mode=0o700)",
        "mode=0o755)",
    ),
    _journal(
        "mark-cut-off",
        "A description keeps its mark, however long it is.",
        "return text[: 1000 - len(end)] + end",
        "return (text + end)[:1000]",
    ),
    _objects(
        "unclear-struck-out",
        "What may have been made stays in the journal.",
        "                if not self._unclear:\n                    self.gone()",
        "                self.gone()",
    ),
    _objects(
        "earlier-one-found",
        "An earlier object is not taken for this one.",
        "        self._find = lambda: None  # an earlier one would be taken for this one\n",
        "",
    ),
    _objects(
        "bare-refusal-believed",
        "A refusal without a reason may come after the work.",
        "            if error.detail and not lost.any and",
        "            if not lost.any and",
    ),
    _objects(
        "certain-not-looked-for",
        "After a refusal what bears our fresh id is ours.",
        "engine.patience.look(find) if lost.any else find() if certain else None",
        "engine.patience.look(find) if lost.any else None",
    ),
    _made(
        "archived-id-taken-for-ours",
        "An id out of an archive may be somebody else's.",
        "certain=self._fresh)",
        "certain=True)",
    ),
    _made(
        "refused-archived-id-removed",
        "A disk that was there before is not asked for, and so not removed after a refusal.",
        "        if not self._fresh and self.exists():\n",
        "        if not self._fresh and not self.id:\n",
    ),
    _cleanup(
        "engines-mixed",
        "What a run left in another engine is not looked for in this one.",
        "if run.engine_id == engine.instance_id or not run.entries]",
        "if run.engine_id or not run.entries]",
    ),
    _cleanup(
        "order-of-making",
        "What holds locks goes before what is locked.",
        "key=lambda entry: (ORDER.index(entry.kind), entry.number)",
        "key=lambda entry: entry.number",
    ),
    _cleanup(
        "failure-forgotten",
        "What could not be ended stays in the journal.",
        '            self._log(f"could not end {_of_dead(name)}: {error.message}")\n',
        '            self._log(f"could not end {_of_dead(name)}: {error.message}")\n            run.strike(entry)\n',
    ),
    _cleanup(
        "late-end-forgotten",
        "So does what did not end in time.",
        "        except Timeout as error:\n",
        "        except Timeout as error:\n            run.strike(entry)\n",
    ),
    _cleanup(
        "older-vm-removed",
        "A VM that is older than the run is somebody else's.",
        "if entry.id is None and not _is_younger(made, run):",
        "if entry.id is None and not made:",
    ),
    _cleanup(
        "disks-of-others-removed",
        "A VM takes only the run's own disks with it.",
        "return bool(attached) and attached <= made",
        "return bool(attached)",
    ),
    _cleanup(
        "disk-in-use-removed",
        "A disk that a VM uses was not only intended.",
        "    if entry.id is None and used:\n        return False",
        "    if entry.id is None and not disk_id:\n        return False",
    ),
    _cleanup(
        "failed-merge-forgotten",
        "A snapshot that could not be merged stays known.",
        "    left = merge_away(engine, vm_id, found)\n    if left:\n",
        "    left = merge_away(engine, vm_id, found)\n    if left == '':\n",
    ),
    _cleanup(
        "failed-merge-of-a-backup-forgotten",
        "So does the one that the engine made for a backup.",
        "    left = merge_away(engine, vm_id, str(snapshot))\n    if left:\n",
        "    left = merge_away(engine, vm_id, str(snapshot))\n    if left == '':\n",
    ),
    _cleanup(
        "guest-left-frozen",
        "A guest that a dead run froze is thawed.",
        '    thaw(engine, str(entry.facts["vm"]))\n',
        "",
    ),
    _tagged(
        "living-runs-forgotten",
        "`cleanup --tagged` leaves the objects of living runs alone.",
        "if t.run_id not in known_runs]",
        "if t.run_id]",
    ),
    _tagged(
        "anybodys-backup",
        "Only what bears our tag is ours.",
        'rf"^{TAG} .*\\[(?P<run>[0-9a-f]{{12}})(\\.\\d+)?\\]$"',
        'rf".*\\[(?P<run>[0-9a-f]{{12}})(\\.\\d+)?\\]$"',
    ),
    _tagged(
        "finished-backup-ended",
        "A backup that has ended is left alone.",
        "    lasting = [backup for backup in backups if backup_phase(backup) not in _OVER]\n",
        "    lasting = list(backups)\n",
    ),
)
