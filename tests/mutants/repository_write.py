"""Breakages of the repository: when an archive becomes visible, and who is let in."""

from __future__ import annotations

from mutants.mutant import of

_ROLLBACK = "integration/repository/test_rollback.py"
_READING = "integration/repository/test_reading.py"
_OPENING = "integration/repository/test_opening.py"
_UNLOCKED = "integration/repository/test_unlocked.py"
_EVERY_FAULT = f"{_ROLLBACK}::test_every_fault_leaves_nothing_and_the_next_archive_is_whole"

_writer = of("repository/writer.py", _EVERY_FAULT)
_stored = of("repository/writer.py", f"{_READING}::test_everything_comes_back")
_archive = of("repository/borg_archive.py", f"{_READING}::test_everything_comes_back")
_session = of("repository/borg_session.py", _EVERY_FAULT)
_errors = of("repository/borg_errors.py", "unit/repository/test_borg_errors.py")
_version = of("repository/version.py", "unit/repository/test_version.py")

_checkpoints = "integration/repository/test_unfinished.py"
_checkpoint = of("repository/checkpoint.py", _checkpoints)

MUTANTS = (
    _checkpoint(
        "no-checkpoint",
        "What an interrupted run stored is known to the next one.",
        "return bool(interval) and",
        "return False and",
    ),
    _checkpoint(
        "checkpoint-of-another",
        "An archive removes the checkpoints of its own VM alone.",
        "if _vm_of(facts.comment) == vm_id:",
        "if _vm_of(facts.comment):",
    ),
    _writer(
        "short-disk-committed",
        "A disk that is not complete ends the archive uncommitted.",
        "if self._filled != self.size:",
        "if self._filled > self.size:",
    ),
    _writer(
        "cell-does-not-fit",
        "A cell that does not fit the grid ends the archive.",
        "if size != min(self.cell, room) or not 0 < size * count <= room:",
        "if not 0 < size * count <= room:",
    ),
    _writer(
        "warning-ignored",
        "A warning of Borg's ends the archive: for Borg it is an archive with a hole.",
        "            if warned:",
        "            if warned and self.committed:",
    ),
    _writer(
        "swallowed-error-forgotten",
        "An error that somebody swallowed still spoils the archive.",
        'self._spoilt = self._spoilt or f"failed',
        'self._spoilt = self._spoilt and f"failed',
    ),
    _writer(
        "refusal-forgotten",
        "So does a refusal.",
        'self._spoilt = f"is not good: {why}"',
        "self._spoilt = None",
    ),
    _writer(
        "manifest-of-other-disks",
        "The manifest tells of exactly the disks that are stored.",
        "if sizes != manifest.contents:",
        "if len(sizes) != len(manifest.contents):",
    ),
    _writer(
        "comment-of-another-vm",
        "Comment and manifest are of one VM.",
        "if (comment.vm_id, comment.mode) != (manifest.vm.id, manifest.mode):",
        "if comment.mode != manifest.mode:",
    ),
    _writer(
        "no-roll-back",
        "What was not committed is rolled back.",
        "        if not writer.committed:\n            session.roll_back()",
        "        if writer.committed:\n            session.roll_back()",
    ),
    of("repository/writer.py", f"{_ROLLBACK}::test_one_archive_at_a_time")(
        "two-archives-at-once",
        "A repository has one transaction at a time.",
        "    session.busy = True",
        "    session.busy = False",
    ),
    of("repository/writer.py", "integration/repository/test_writing.py")(
        "no-ovf",
        "An archive without its OVF is none.",
        "if OVF not in self._files:",
        "if OVF in self._files and not self._files:",
    ),
    _stored(
        "small-files-lost",
        "The OVF is in the archive.",
        "files = {MANIFEST: stored[MANIFEST], **self._files, README: stored[README]}",
        "files = {MANIFEST: stored[MANIFEST], README: stored[README]}",
    ),
    of("repository/writer.py", "integration/repository/test_writing.py")(
        "cell-too-large",
        "Chunks larger than Borg can store are refused.",
        "if not 0 < cell <= LARGEST_CELL:",
        "if not 0 < cell:",
    ),
    of("repository/writer.py", "integration/repository/test_writing.py")(
        "stored-twice",
        "A cell is stored once: its buffer is another's afterwards.",
        "if content is None:",
        "if content is None and self.frame:",
    ),
    _archive(
        "time-of-the-end",
        "The archive's time is the instant that it shows.",
        "                timestamp=started,\n",
        "",
    ),
    of("repository/borg_archive.py", "integration/repository/test_writing.py")(
        "command-line-kept",
        "No archive keeps the command line of its run, which may hold a secret.",
        '                additional_metadata={"cmdline": list(command)},\n',
        "",
    ),
    of("repository/borg_archive.py", f"{_ROLLBACK}::test_a_full_disk_after_the_commit")(
        "committed-and-denied",
        "Where the archive is whole though the end failed, this is said.",
        "            if there:\n",
        "            if there is None:\n",
    ),
    of("repository/borg_archive.py", f"{_ROLLBACK}::test_a_full_disk_at_any_place")(
        "not-there-and-claimed",
        "Where it is not there, the error is told as it is.",
        "            if there is False:\n                raise",
        "            if there is False:\n                pass",
    ),
    of("repository/borg_archive.py", "integration/repository/test_writing.py")(
        "readable-by-all",
        "What stock Borg extracts is readable by its owner alone.",
        "mode=stat.S_IFREG | 0o600,",
        "mode=stat.S_IFREG | 0o644,",
    ),
    _session(
        "unknown-chunk-referred",
        "Only chunks that the repository holds are referred to.",
        "        if not self.seen(chunk):\n            raise",
        "        if False:\n            raise",
    ),
    of("repository/borg_session.py", f"{_READING}::test_has_is_strict_about_the_size")(
        "size-of-a-chunk-ignored",
        "A chunk of another size is another chunk.",
        "entry.refcount > 0 and entry.size == chunk.size",
        "entry.refcount > 0",
    ),
    of("repository/borg_session.py", f"{_READING}::test_a_chunk_that_is_lost")(
        "cache-believed",
        "A chunk that the cache counts and the repository lost is not there.",
        "return id_ not in self.rotten and (self._segments is None or self._segments.hold(id_))",
        "return id_ not in self.rotten",
    ),
    of("repository/borg_session.py", f"{_READING}::test_a_lost_chunk_is_written_again")(
        "lost-chunk-not-rewritten",
        "A chunk that got lost is stored again.",
        "overwrite=lost, wait=False",
        "overwrite=False, wait=False",
    ),
    of("repository/borg_session.py", f"{_READING}::test_long_runs_of_zeros_are_counted_as_borg_counts_them")(
        "zeros-counted-once",
        "Each reference to a chunk is counted: a count too small loses data at the next delete.",
        "for _ in range(count - 1):",
        "for _ in range(0):",
    ),
    of("repository/borg_session.py", f"{_ROLLBACK}::test_a_full_disk_after_the_commit")(
        "stale-cache-used",
        "With a cache that missed a commit nothing more is written.",
        'if self._cache.cache_config._config.get("cache", "manifest") != archive_id(fresh.id):',
        "if False:",
    ),
    of("repository/borg_session.py", f"{_ROLLBACK}::test_the_server_dies")(
        "written-after-a-failed-roll-back",
        "A connection that could not roll back is not written through again.",
        "        if self._unusable:\n            raise",
        "        if self._unusable == '':\n            raise",
    ),
    of("repository/borg_session.py", f"{_OPENING}::test_reading_only")(
        "written-while-reading",
        "A repository that is open for reading is not written.",
        "if self._cache is None:\n            raise",
        "if self._cache == 0:\n            raise",
    ),
    of("repository/borg_session.py", f"{_READING}::test_hold_release_delete_compact")(
        "half-deleted",
        "Archives are removed together or not at all.",
        "        for name in names:\n            self.entry(name)\n        stats = Statistics()",
        "        stats = Statistics()",
        survives="A name that is none is met in the transaction, too, which is then given up as a whole.",
    ),
    of("repository/borg_session.py", f"{_ROLLBACK}::test_what_filled_a_disk_is_given_back")(
        "leftovers-on-a-full-disk",
        "A full disk is cleared of what filled it.",
        "            except OSError:  # closing",
        "            except ZeroDivisionError:  # closing",
        survives="That closing fails as well is seen on a disk that is really full, which no test has.",
    ),
    of(
        "repository/writer.py",
        f"{_ROLLBACK}::test_warnings_of_the_opening_do_not_spoil_an_archive",
    )(
        "old-warnings-count",
        "What Borg warned of while the repository was opened spoils no archive.",
        "        session.warnings.forget()\n",
        "",
    ),
    of("repository/borg_behind.py", "integration/repository/test_conformance.py")(
        "no-hint-to-the-kernel",
        "Segments are written while they grow.",
        "os.posix_fadvise(segment.fd, 0, 0, os.POSIX_FADV_DONTNEED)",
        "pass",
    ),
    of("repository/borg_connect.py", "integration/repository/test_writing.py")(
        "no-umask",
        "Files of a repository are nobody else's, whatever the umask of the caller.",
        "        stack.enter_context(_umask(access.umask))\n",
        "",
    ),
    of("repository/borg_connect.py", "integration/repository/test_writing.py")(
        "umask-kept",
        "The caller's umask is as it was afterwards.",
        "        os.umask(before)",
        "        pass",
    ),
    of("repository/borg_connect.py", f"{_OPENING}::test_locked")(
        "written-without-lock",
        "A repository that is written is locked.",
        "unlocked = not access.write and (local or access.bypass_lock)",
        "unlocked = local or access.bypass_lock",
    ),
    of("repository/borg_connect.py", _UNLOCKED)(
        "bypassed-unasked",
        "Behind ssh nothing is read without the lock unless somebody asks for it.",
        "unlocked = not access.write and (local or access.bypass_lock)",
        "unlocked = not access.write",
    ),
    of("repository/borg_connect.py", _UNLOCKED)(
        "compacted-is-damage",
        "What is compacted away under a reader without the lock is no damage.",
        "        except (self.RPCError, LocalRepository.ObjectNotFound, IntegrityError) as error:",
        "        except ZeroDivisionError as error:",
    ),
    of("repository/borg_connect.py", _UNLOCKED)(
        "free-lock-left",
        "A lock that is free is taken, whatever was asked for.",
        "    if access.glance:\n        return",
        '    if access.bypass_lock and location.proto == "ssh":\n'
        "        return _entered(_repository(location, access, 0.0, lock=False), stack)\n"
        "    if access.glance:\n        return",
    ),
    of("repository/borg_connect.py", f"{_OPENING}::test_locked")(
        "shared-writing",
        "A writer is alone.",
        "return LocalRepository(location.path, exclusive=access.write, lock_wait",
        "return LocalRepository(location.path, exclusive=False, lock_wait",
    ),
    of("repository/borg_unlocked.py", "integration/repository/test_unlocked.py")(
        "index-removed",
        "Whoever reads without a lock removes no index.",
        "        for _ in range(_TRIES):\n            try:\n                return self._index(transaction_id)",
        "        for _ in range(_TRIES):\n            try:\n                return super().open_index(transaction_id)",
    ),
    of("repository/borg_unlocked.py", "integration/repository/test_unlocked.py")(
        "replayed-without-lock",
        "Nor completes the commit of another.",
        "        until = time.monotonic() + _COMMIT\n",
        "        until = time.monotonic() + _COMMIT\n        return super().check_transaction()\n",
    ),
    of("repository/borg_unlocked.py", "integration/repository/test_unlocked.py")(
        "moved-chunk-lost",
        "A chunk that compacting moved is found where it is now.",
        "        self.index = self.open_index(newest)\n        return True",
        "        return True",
    ),
    of("repository/borg_connect.py", f"{_OPENING}::test_unknown_unencrypted_and_relocated")(
        "moved-repository-read",
        "A repository at another place than before is opened only where the user says so.",
        "                assert_secure(repository, manifest, access.lock_wait)",
        "                pass",
    ),
    of("repository/borg_connect.py", f"{_OPENING}::test_options_reach_the_connection")(
        "no-upload-limit",
        "The upload limit holds.",
        "upload_ratelimit=access.upload_limit,",
        "upload_ratelimit=0,",
    ),
    of("repository/borg_connect.py", f"{_OPENING}::test_places")(
        "archive-for-repository",
        "An archive where a repository is wanted is refused.",
        "    if location.archive:\n        raise",
        "    if False:\n        raise",
    ),
    of("repository/borg_connect.py", f"{_OPENING}::test_ssh_fails")(
        "last-words-unheard",
        "What ssh said last is told.",
        '            borg_console.hear(rest.decode("utf-8", "replace"))',
        "            pass",
    ),
    of("repository/borg_console.py", f"{_OPENING}::test_no_question_reads_standard_input")(
        "question-on-stdin",
        "Where nobody can answer no answer is read: stdin may be a disk.",
        "return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))",
        "return True",
    ),
    of("repository/borg_console.py", f"{_OPENING}::test_passphrases")(
        "descriptor-read-twice",
        "A passphrase from a descriptor is read once and remembered.",
        "if descriptor not in read_once:",
        "if True:",
    ),
    of("repository/borg_console.py", "unit/repository/test_borg_console.py")(
        "unlogged-warning",
        "What Borg tells by its exit code alone is a warning, too.",
        "if not self._heard and get_ec() != 0:",
        "if not self._heard and get_ec() > 99:",
    ),
    of("repository/borg_errors.py", f"{_OPENING}::test_passphrases")(
        "passcommand-shown",
        "The command that prints a passphrase is never shown.",
        'f"exit status {cause.returncode}" if isinstance(cause, subprocess.CalledProcessError)',
        'f"exit status {cause}" if isinstance(cause, subprocess.CalledProcessError)',
    ),
    _errors(
        "full-disk-unknown",
        "A full disk is told as such.",
        "if error.errno in (errno.ENOSPC, errno.EDQUOT):",
        "if error.errno in ():",
    ),
    _errors(
        "lock-told-as-damage",
        "A repository that is locked has a code of its own.",
        "    (locking.LockTimeout, _locked),\n",
        "",
    ),
    _errors(
        "fault-of-ours-hidden",
        "A fault of ours is never told as one of the repository's.",
        "    if module := _module_of_borg(error):",
        "    if module := _module_of_borg(error) or type(error).__name__:",
    ),
    _version(
        "newer-borg",
        "A Borg that was never tested with is refused.",
        "return OLDEST <= tuple(int(part) for part in parts) <= NEWEST",
        "return OLDEST <= tuple(int(part) for part in parts)",
    ),
    _version(
        "pre-release",
        "So is a pre-release.",
        "if len(parts) != 3 or not all(part.isdecimal() for part in parts):",
        "if len(parts) < 3:",
    ),
)
