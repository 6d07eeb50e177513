"""Breakages of a backup: the order of its steps, what it builds on, and what it says of itself."""

from __future__ import annotations

from mutants.mutant import of

_create = of("jobs/backup/create.py", "unit/jobs/backup/test_create_order.py")
_items = of("jobs/backup/items.py", "unit/jobs/backup/test_items.py")
_base = of("jobs/backup/base.py", "unit/jobs/backup/test_base.py")
_reuse = of("jobs/backup/reuse.py", "unit/jobs/backup/test_reuse.py")
_disks = of("jobs/backup/disks.py", "unit/jobs/backup/test_choose_disks.py")
_checkpoints = of("jobs/backup/checkpoints.py", "unit/jobs/backup/test_checkpoints.py")
_pool_base = of("jobs/backup/workers/base.py", "unit/jobs/backup/test_pool_base.py")
_opened = of("jobs/backup/opened.py", "unit/jobs/backup/test_opened.py")

MUTANTS = (
    _create(
        "committed-before-the-end",
        "An archive is visible only when every transfer has ended well.",
        "            if not held:\n                captured.finish()\n",
        "",
    ),
    _create(
        "locked-before-the-ovf",
        "The OVF is fetched before the engine locks anything.",
        "    ovf = fetch_ovf(engine, vm.id)\n    settings",
        '    ovf = b""\n    settings',
    ),
    _create(
        "no-full-read-after-a-lost-checkpoint",
        "A lost checkpoint is followed by a full read in the same run.",
        "        except CheckpointLost as lost:",
        "        except ZeroDivisionError as lost:",
    ),
    _create(
        "checkpoints-left-after-a-failure",
        "A backup that failed leaves no checkpoint that nobody needs.",
        "            for warning in drop_unneeded(engine, vm, store.ids, needed):\n                progress.warn",
        "            for warning in ():\n                progress.warn",
    ),
    _create(
        "not-looked-at",
        "A disk is looked at before it is stored.",
        "            items.check(disk, buffers)\n",
        "",
    ),
    _create(
        "time-of-the-start",
        "An archive's time is the instant that it shows.",
        "self.store.writer(name, started=captured.instant) as archive,",
        "self.store.writer(name, started=self.started) as archive,",
    ),
    _items(
        "lying-map-believed",
        "Where the change map lies, nothing of the disk is reused.",
        "        if not disk.mismatches:\n            return",
        "        if disk.mismatches:\n            return",
    ),
    _items(
        "zeros-believed",
        "Zeros where the base has data are a lie of the map, too.",
        "        elif item.plan.mismatches:\n",
        "        elif item.plan.mismatches and not disk:\n",
    ),
    _items(
        "grown-layer-believed",
        "A known layer of another length is not the one that was archived.",
        "        if item.known and source.size != base.size:",
        "        if item.known and source.size < base.size:",
    ),
    _items(
        "no-layer-looked-into",
        "At least one known layer of each disk is looked into.",
        "        count = max(1, math.ceil(self._sampling.rate * len(known)))",
        "        count = int(self._sampling.rate * len(known))",
    ),
    _items(
        "header-not-sampled",
        "Of a layer the header is always looked at: every merge writes to it.",
        "known=item.known)",
        "known=False)",
        survives="The sampled cells are drawn at random, and eight of them cover a layer of a test.",
    ),
    _items(
        "longer-export-cut",
        "An export that is longer than the disk is no backup of it.",
        "            if self.most is not None and extent.end > self.most:",
        "            if self.most is None and extent.end > 0:",
    ),
    _items(
        "block-storage-refused",
        "On block storage a raw volume is longer than its disk.",
        "return -(-size // _BLOCK) * _BLOCK if storage_type in _FILES else None",
        "return -(-size // _BLOCK) * _BLOCK",
    ),
    _items(
        "header-not-checked",
        "A layer that was read is what the engine says.",
        "            check_head(disk.name, item.layer.facts, head.head)",
        "            pass",
    ),
    _items(
        "known-layers-transferred",
        "A known layer needs no transfer.",
        "            if item.known or item.source is not None:\n                total",
        "            if item.source is not None:\n                total",
    ),
    _items(
        "two-layers-of-a-disk-open",
        "One layer of a disk is open at a time: two transfers hide the snapshots of its VM.",
        "        item.source = None\n        self._captured.close(item.layer)\n",
        "",
    ),
    _create(
        "lost-checkpoint-removed-too-late",
        "A lost checkpoint goes before the full backup: afterwards that could cost the new one.",
        "                drop_lost(engine, vm, store.ids, needed)",
        "                pass",
    ),
    _base(
        "marked-base",
        "An archive whose change tracking was found wrong is no base.",
        "    if comment.marked:\n        return",
        "    if comment.marked is None:\n        return",
    ),
    _base(
        "older-than-a-mark",
        "Neither is one that is older.",
        "looking = looking and not info.comment.marked",
        "looking = bool(looking)",
    ),
    _base(
        "forgotten-checkpoint",
        "A checkpoint that the engine no longer holds is not started from.",
        "    if state is None:\n        return",
        '    if state == "":\n        return',
    ),
    _base(
        "invalid-checkpoint",
        "Neither is one that it calls invalid.",
        'return None if state == "created" else',
        "return None if state else",
    ),
    _base(
        "full-every-ignored",
        "A VM is read in full again when it was asked for.",
        "    if every is not None and _last_full_age",
        "    if every is None and _last_full_age",
    ),
    _base(
        "full-ignored",
        "A full backup is one.",
        "    if query.full:\n        return",
        "    if query.full is None:\n        return",
    ),
    _base(
        "damage-stops-all",
        "A damaged archive is stepped over and told.",
        'except (RepositoryDamaged, NotOurArchive) as error:\n        return f"the archive',
        'except NotOurArchive as error:\n        return f"the archive',
    ),
    _reuse(
        "off-the-grid-reused",
        "An item that others cut into other chunks is read whole.",
        "    if not content.chunks.on_grid(wanted.cell):",
        "    if not content.chunks:",
    ),
    _reuse(
        "damaged-item-reused",
        "So is one of which chunks are lost.",
        "    if content.damaged:",
        "    if content.damaged is None:",
    ),
    _reuse(
        "other-grid-reused",
        "So is one of another chunk size.",
        "    if disk.cell != wanted.cell:",
        "    if disk.cell > wanted.cell:",
    ),
    _reuse(
        "shrunk-disk-reused",
        "So is one of a larger disk.",
        "    if disk.size > wanted.size:",
        "    if disk.size > 2 * wanted.size:",
    ),
    _reuse(
        "merged-layer-reused",
        "A layer whose child changed was merged into: its image id alone proves nothing.",
        '        "the layer above it": (record.child, child),\n',
        "",
    ),
    _reuse(
        "owner-changed",
        "So was one whose snapshot changed.",
        '        "its snapshot": (record.snapshot_id, layer.snapshot_id),\n',
        "",
    ),
    _reuse(
        "size-changed",
        "So was one that takes more room than then.",
        '        "its actual size": (record.actual_size, layer.actual_size),\n',
        "",
    ),
    _reuse(
        "temporary-layer-reused",
        "The layer under a temporary snapshot of ours is never taken for a known one.",
        "record.snapshot_id not in owners_then or layer.snapshot_id not in owners_now",
        "record.snapshot_id not in owners_then",
    ),
    _disks(
        "unreadable-disk-taken",
        "A disk that cannot be read is left with its reason.",
        "        elif cannot:\n",
        "        elif cannot and not disk.id:\n",
    ),
    _disks(
        "refusal-forgotten",
        "Where all must be in it, a disk that cannot be read refuses the VM.",
        '    if refused and rules.unsupported == "refuse":',
        '    if refused and rules.unsupported == "":',
    ),
    _disks(
        "unknown-disk-excluded",
        "Excluding a disk that is not there is a mistake.",
        "    _check_ids(vm, rules.exclude)\n",
        "",
    ),
    of("jobs/backup/begin.py", "unit/jobs/backup/test_choose_disks.py")(
        "empty-archive",
        "A VM without any disk to back up gets no archive.",
        "    if not chosen:\n        raise",
        "    if chosen is None:\n        raise",
    ),
    _checkpoints(
        "checkpoint-of-another-repository",
        "A checkpoint that another repository may need stays.",
        "if repositories and repositories <= set(opened) and checkpoint.id not in needed:",
        "if repositories and repositories & set(opened) and checkpoint.id not in needed:",
    ),
    _checkpoints(
        "needed-checkpoint-removed",
        "So does one that is needed.",
        "and checkpoint.id not in needed:",
        "and checkpoint.id:",
    ),
    _checkpoints(
        "foreign-checkpoint-removed",
        "So does one that is not ours.",
        '_OURS = re.compile(r"^borg-ovirt repositories=',
        '_OURS = re.compile(r".*repositories=',
    ),
    _checkpoints(
        "unsound-checkpoint-removed",
        "Of a running VM only a checkpoint that is sound goes: removing a lost one costs all of them.",
        "    sound = all(c.created >= started or _is_proven(engine, vm, c, proof) for c in defined)",
        "    sound = bool(defined)",
    ),
    _checkpoints(
        "others-lose-theirs",
        "An unsound checkpoint goes only where nobody else has one.",
        '    return all(c in going or c.state == "invalid" for c in held)',
        "    return True",
    ),
    _checkpoints(
        "half-a-proof",
        "A checkpoint is proven by all its disks.",
        "proof.disks >= set(checkpoint_disks(engine, vm.id, checkpoint.id))",
        "bool(proof.disks)",
    ),
    _checkpoints(
        "old-clusters-forgotten",
        "Below level 4.6 all checkpoints are defined again.",
        "[checkpoint] if vm.level >= SINGLE_LEVEL else held",
        "[checkpoint]",
    ),
    _pool_base(
        "zero-if-one-has-zeros",
        "A cell is zero only if it is in every base.",
        "zeros = bytes(map(min, zeros, offer.zeros))",
        "zeros = bytes(map(max, zeros, offer.zeros))",
    ),
    _pool_base(
        "same-if-one-says-so",
        "A cell is the same only where it is in every repository.",
        "return all(self._pool.same(digest, self._vm_id, self._path, index))",
        "return any(self._pool.same(digest, self._vm_id, self._path, index))",
    ),
    _pool_base(
        "largest-base",
        "Cells past the smallest base are not asked for.",
        "self.size = min(offer.size for offer in offers)",
        "self.size = max(offer.size for offer in offers)",
    ),
    _pool_base(
        "base-of-some",
        "What one of them cannot build on, none does.",
        "        if without:\n",
        "        if len(without) == len(offers):\n",
    ),
    _pool_base(
        "layers-of-two-sizes",
        "A layer in different sizes is not the same layer.",
        "len({offer.size for offer in offers.values()}) > 1",
        "len({offer.size for offer in offers.values()}) > 9",
    ),
)
