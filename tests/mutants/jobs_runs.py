"""Breakages of a run and of what tends archives and the engine afterwards."""

from __future__ import annotations

from mutants.mutant import of

_TURNS = "unit/jobs/runs/test_turns.py"

_turns = of("jobs/runs/turns.py", _TURNS)
_outcome = of("jobs/runs/outcome.py", _TURNS)
_guard = of("jobs/runs/guard.py", "unit/jobs/runs/test_guard.py")
_hooks = of("jobs/runs/hooks.py", "unit/jobs/runs/test_hooks.py")
_slots = of("jobs/runs/slots.py", "unit/jobs/runs/test_slots.py")
_selection = of("jobs/selection.py", "unit/jobs/test_selection.py")
_prune = of("jobs/archives/prune.py", "unit/jobs/archives/test_prune_job.py")
_find = of("jobs/archives/find.py", "unit/jobs/archives/test_find.py")
_retention = of("jobs/archives/retention.py", "unit/jobs/archives/test_prune_job.py")
_cleanup = of("jobs/health/cleanup.py", "unit/jobs/health/test_cleanup_job.py")

MUTANTS = (
    _turns(
        "vm-of-another-process",
        "A VM that another process of ours works on waits for its turn.",
        "        if lock is None:\n            return False",
        "        if lock is None:\n            return True",
    ),
    _turns(
        "lock-given-back-too-early",
        "A VM is ours until the engine is through with it.",
        "release = stack.pop_all().close",
        "release = stack.close",
    ),
    _turns(
        "started-after-the-window",
        "After the window no VM is started.",
        "if until is not None and datetime.now(timezone.utc) >= until:",
        "if until is not None and datetime.now(timezone.utc) < until:",
    ),
    _turns(
        "one-failure-ends-the-run",
        "What goes wrong with one VM stops no other.",
        "        except Exception as error:\n            outcome.fail(error)\n        except KeyboardInterrupt",
        "        except ZeroDivisionError as error:\n            outcome.fail(error)\n        except KeyboardInterrupt",
    ),
    _turns(
        "signal-without-hooks",
        "A signal still closes what was begun.",
        "            signalled = error\n            self._hooks.hurry()\n            if results:",
        "            raise\n            if results:",
    ),
    _turns(
        "signal-swallowed",
        "And ends the run.",
        "        if signalled is not None:\n            raise signalled\n        return [result",
        "        return [result",
    ),
    _turns(
        "hooks-of-success-after-a-failure",
        "A VM that failed is told as failed.",
        '"on-failure" if outcome.status == "failed" else "on-success"',
        '"on-success"',
    ),
    _turns(
        "log-of-the-engine-left-open",
        "The engine's log gets its end.",
        "            self._audit.failed(member.id, member.name, outcome.error)",
        "            pass",
    ),
    _turns(
        "lost-repository-not-missed",
        "A repository that was given up has no archive of the VM: that is told.",
        "        self._miss(outcome)\n",
        "",
    ),
    _turns(
        "read-for-nobody",
        "Without any repository no VM is read.",
        "        if self._repositories.all_lost is not None:\n            outcome.status",
        '        if self._repositories.all_lost == "":\n            outcome.status',
    ),
    _outcome(
        "failure-is-a-warning",
        "A VM that failed fails the run.",
        '        if self.cause or self.count("failed") or lost:',
        "        if self.cause or lost:",
    ),
    _outcome(
        "lost-repository-is-fine",
        "So does a repository that is lost in the end.",
        '        if self.cause or self.count("failed") or lost:',
        '        if self.cause or self.count("failed"):',
    ),
    _outcome(
        "not-started-is-fine",
        "A VM whose turn did not come is a warning.",
        '        if self.warnings or self.count("warning") or self.count("not started"):',
        '        if self.warnings or self.count("warning"):',
    ),
    _outcome(
        "last-cause-counts",
        "The first cause is the one that counts.",
        "        self.error = self.error or in_words(error)",
        "        self.error = in_words(error)",
    ),
    _outcome(
        "signal-overruled",
        "Nothing goes before a signal.",
        "if self.cause is None or isinstance(error, KeyboardInterrupt):",
        "if self.cause is None:",
    ),
    _outcome(
        "warnings-heal",
        "A failure does not become a warning.",
        '        if warnings and self.status == "ok":',
        "        if warnings:",
    ),
    of("jobs/runs/plan.py", _TURNS)(
        "window-of-yesterday",
        "The end of the window is the next time that the clock shows it.",
        "    return end if end > local else end + timedelta(days=1)",
        "    return end",
    ),
    _guard(
        "full-domain",
        "No backup starts on a domain that is nearly full.",
        "            if room.available < limit:",
        "            if room.available < 0:",
    ),
    _guard(
        "filled-meanwhile",
        "One that runs is ended before it fills it.",
        "                    alarm.ring(full)\n",
        "",
    ),
    _guard(
        "blind-after-a-pause",
        "An engine that does not answer says nothing about its domains.",
        "                except BorgOvirtError:\n                    continue",
        "                except BorgOvirtError:\n                    return",
    ),
    _hooks(
        "endless-command",
        "A command is ended after its time.",
        "time.monotonic() + limit, told",
        "time.monotonic() + 100 * limit, told",
    ),
    _hooks(
        "secrets-for-commands",
        "A command inherits no secret of ours.",
        "    return {**environment_of_children(), **told}",
        "    return {**os.environ, **told}",
    ),
    _hooks(
        "failed-command-is-fine",
        "A command that fails is told.",
        "    if process.returncode:\n",
        "    if process.returncode < 0:\n",
    ),
    _hooks(
        "stop-only-warns",
        "One that is to stop stops.",
        '            if hook.on_error == "stop":\n                raise',
        '            if hook.on_error == "":\n                raise',
    ),
    _slots(
        "more-places-than-there-are",
        "Only so many read at a time.",
        "        for number in range(limit):",
        "        for number in range(limit + 1):",
    ),
    _slots(
        "lock-of-two",
        "A lock is of one.",
        "    except BlockingIOError:\n        handle.close()\n        return None",
        "    except BlockingIOError:\n        return handle",
    ),
    _selection(
        "unknown-vm-left-out",
        "A VM that is named and not there is told.",
        "    if not fitting:\n        raise",
        "    if fitting is None:\n        raise",
    ),
    _selection(
        "shards-overlap",
        "Each VM belongs to one shard.",
        '        return hashlib.sha256(f"{vm_id.lower()}/{part}".encode()).digest()',
        '        return hashlib.sha256(f"{vm_id.lower()}/{parts}".encode()).digest()',
    ),
    _selection(
        "neediest-last",
        "The VM whose last archive is the oldest goes first.",
        "        return min((rank.get(member.id, -1) for rank in ranks), default=-1), member.name",
        "        return -min((rank.get(member.id, -1) for rank in ranks), default=-1), member.name",
    ),
    _prune(
        "dry-run-removes",
        "A dry run removes nothing.",
        "    if doomed and not dry_run:\n",
        "    if doomed:\n",
    ),
    _prune(
        "damage-not-looked-for",
        "Before anything is removed, what is to stay is looked at.",
        "            self._look_for_damage()\n",
        "",
    ),
    _prune(
        "marked-one-will-do",
        "It looks back to one whose change tracking was right.",
        "            elif not info.comment.marked:\n                return",
        "            else:\n                return",
    ),
    _prune(
        "tags-of-then-forgotten",
        "A tag that was lost does not cost the archives made under it.",
        "        return verdicts if self._given else [self._as_then(verdict, verdicts) for verdict in verdicts]",
        "        return verdicts",
    ),
    _prune(
        "gone-on-another-engine",
        "Of another engine nobody knows that a VM is gone.",
        "        self._gone = here and self._member is None",
        "        self._gone = known is not None and self._member is None",
    ),
    _prune(
        "every-vm-is-meant",
        "Only the VM that is meant is pruned.",
        "        if vms and series.vm_id not in meant:",
        "        if vms and not meant:",
    ),
    _retention(
        "gone-vm-pruned",
        "A VM that is gone keeps its archives unless the rules say otherwise.",
        '    if gone and rules.gone_vms != "prune":',
        '    if gone and rules.gone_vms == "keep all":',
    ),
    _retention(
        "no-rules-no-archives",
        "Without rules everything stays.",
        "    if rules.keeps_everything:\n        return",
        "    if not rules.keeps_everything:\n        return",
    ),
    _find(
        "one-of-two-vms",
        "Of two VMs that had a name none is guessed.",
        "    if len(ids) > 1:",
        "    if len(ids) > 9:",
    ),
    _find(
        "one-of-two-engines",
        "Of two engines that have the VM none is guessed.",
        "    if len(engines) > 1:",
        "    if len(engines) > 9:",
    ),
    _cleanup(
        "living-runs-forgotten",
        "`cleanup --tagged` leaves living runs alone.",
        "    living = _living(state) | {",
        "    living: set[str] = set() | {",
    ),
    _cleanup(
        "untold-removal",
        "What no journal knows is removed only when that is asked for.",
        "    if not tagged:\n        return",
        "    if tagged is None:\n        return",
    ),
    _cleanup(
        "young-one-removed",
        "What is young may be a living run's elsewhere.",
        "    if now - stranger.created < older_than:",
        "    if now < stranger.created:",
    ),
    _cleanup(
        "dry-run-cleans",
        "A dry run cleans nothing.",
        "    if dry_run:\n        return",
        "    if dry_run is None:\n        return",
    ),
)
