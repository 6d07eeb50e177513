"""Breakages of a restore: what is in its way, what it makes, and what it leaves when it fails."""

from __future__ import annotations

from mutants.mutant import of

_FLOW = "unit/jobs/restore/test_restore_flow.py"

_restore = of("jobs/restore/restore.py", _FLOW)
_files = of("jobs/restore/into_files.py", _FLOW)
_health = of("jobs/restore/health.py", _FLOW)
_plan = of("jobs/restore/into_ovirt_plan.py", "unit/jobs/restore/test_restore_plan.py")
_placing = of("jobs/restore/placing.py", "unit/jobs/restore/test_restore_plan.py")
_chains = of("jobs/restore/chains.py", "unit/jobs/restore/test_chain_plan.py")
_wanted = of("jobs/restore/wanted.py", f"unit/jobs/restore/test_chain_plan.py {_FLOW}")
_undo = of("jobs/restore/undo.py", "unit/jobs/restore/test_undo.py")

MUTANTS = (
    _restore(
        "blockers-ignored",
        "A restore that something is in the way of touches nothing.",
        "    if plan.blockers:\n        raise",
        "    if plan.blockers is None:\n        raise",
    ),
    _restore(
        "dry-run-restores",
        "A dry run touches nothing.",
        "    if dry_run:\n        return dry(",
        "    if dry_run is None:\n        return dry(",
    ),
    _restore(
        "no-other-archive-named",
        "Where an archive is damaged, one that is whole is named.",
        "    if found is None:\n        return error\n",
        "    if found is None or info:\n        return error\n",
    ),
    _files(
        "damage-not-in-the-way-of-files",
        "A damaged disk is not restored into files.",
        "    blockers = [*wanted.blockers, *health.faults]\n    notes",
        "    blockers = [*wanted.blockers]\n    notes",
    ),
    _plan(
        "damage-not-in-the-way-of-ovirt",
        "Nor into oVirt.",
        "    blockers = [*wanted.blockers, *health.faults]\n    tool",
        "    blockers = [*wanted.blockers]\n    tool",
    ),
    _files(
        "lost-ovf-unnoticed",
        "Nor a VM whose configuration is lost.",
        "    if health.ovf_damaged and not options.disks:",
        "    if health.ovf_damaged and options.disks:",
    ),
    _files(
        "file-replaced",
        "A file that is there is kept.",
        "    if taken:\n",
        "    if taken and not files:\n",
    ),
    _files(
        "file-of-meanwhile-replaced",
        "Also one that came to be meanwhile.",
        "            if os.path.lexists(path):\n                raise",
        "            if False:\n                raise",
    ),
    _files(
        "names-not-synced",
        "The names of restored files are on the disk.",
        "            sync(directory)",
        "            pass",
    ),
    _files(
        "leftovers-in-the-way",
        "A restore that fails leaves nothing in the way of the next.",
        "            placing._take_back()\n",
        "",
    ),
    _files(
        "draft-left",
        "Nor its drafts.",
        "                    shutil.rmtree(placing.beside, ignore_errors=True)",
        "                    pass",
    ),
    _files(
        "names-before-the-bytes",
        "Nothing has its name before all is whole.",
        "        part = self.beside / path.relative_to(self.directory)",
        '        part = path.with_suffix(".part")',
    ),
    _health(
        "damage-not-looked-for",
        "Every chunk of what is wanted is looked for.",
        "        if content.damaged:\n",
        "        if content.damaged is None:\n",
    ),
    _health(
        "other-parent-believed",
        "A layer that names another parent is not restored: it could be any file.",
        "    if header.backing != layer.parent:",
        "    if header.backing is None and layer.parent:",
    ),
    _health(
        "other-size-believed",
        "Nor one for a disk of another size.",
        "    if header.virtual_size != layer.capacity:",
        "    if header.virtual_size < layer.capacity:",
    ),
    _health(
        "damaged-one-recommended",
        "What is recommended instead is whole.",
        "if info != damaged and not repository.damage(info.name)), None)",
        "if info != damaged), None)",
    ),
    _plan(
        "over-a-smaller-disk",
        "No disk is written over a smaller one.",
        "        if disk.size < size:\n",
        "        if disk.size < 0:\n",
    ),
    _plan(
        "over-a-disk-in-use",
        "Nor over one that a running VM uses.",
        '        if status != "down":',
        '        if status == "paused":',
    ),
    _plan(
        "over-without-yes",
        "Nor without the user's word.",
        "    if not options.yes:",
        "    if options.yes is None:",
    ),
    _plan(
        "over-what-cannot-be-written",
        "Nor over one that cannot be written.",
        "    if disk.skip_reason:",
        '    if disk.skip_reason == "":',
    ),
    _plan(
        "over-a-locked-disk",
        "Nor over one that is not `ok`.",
        '    if disk.status != "ok":',
        '    if disk.status == "illegal":',
    ),
    _plan(
        "second-vm-of-an-id",
        "A VM that exists is not made a second time.",
        "    if options.name is None and manifest.vm.id in site.vm_ids:",
        "    if options.name is None and manifest.vm.id in ():",
    ),
    _plan(
        "second-vm-of-a-name",
        "Nor is one under a name that is taken.",
        "    elif name in site.vm_names:",
        "    elif name in ():",
    ),
    _plan(
        "same-id-beside",
        "Beside the original the VM has an id of its own.",
        "        ids[manifest.vm.id] = str(uuid.uuid4())",
        "        ids[manifest.vm.id] = manifest.vm.id",
    ),
    of("jobs/restore/site.py", "unit/jobs/restore/test_restore_plan.py")(
        "any-cluster",
        "A VM goes into the cluster that it is for.",
        "            if word and word in (cluster_id, name):",
        "            if word or name:",
    ),
    of("jobs/restore/plan.py", "unit/jobs/restore/test_restore_plan.py")(
        "stale-data-kept",
        "A fresh raw volume of block storage holds what was there before: its zeros are written.",
        'return not self.exists and not (self.domain.block and self.format == "raw")',
        "return not self.exists",
    ),
    of("jobs/restore/plan.py", "unit/jobs/restore/test_restore_plan.py")(
        "overwritten-disk-reads-zero",
        "A disk that is overwritten is not empty.",
        'return not self.exists and not (self.domain.block and self.format == "raw")',
        'return not (self.domain.block and self.format == "raw")',
    ),
    _placing(
        "disk-of-an-id-twice",
        "A disk that exists is not made a second time.",
        "        if not fresh and record.id in self.site.disk_ids:",
        "        if fresh and record.id in self.site.disk_ids:",
    ),
    _placing(
        "domain-in-maintenance",
        "No disk is made on a domain that is not active.",
        '    if domain.status not in ("active", ""):',
        '    if domain.status == "locked":',
    ),
    _placing(
        "other-data-center",
        "Nor in another data center than the VM's.",
        "    if data_center and domain.data_center_id and domain.data_center_id != data_center:",
        "    if data_center and not domain.data_center_id:",
    ),
    _placing(
        "domain-too-full",
        "Nor on one that is too full.",
        "        elif need > domain.available:",
        "        elif need > 100 * domain.available:",
    ),
    _placing(
        "sparse-raw-on-block",
        "On block storage a sparse raw disk becomes preallocated.",
        '    if domain.block and form == "raw" and sparse and record.backup != "incremental":',
        '    if not domain.block and form == "raw" and sparse and record.backup != "incremental":',
    ),
    _placing(
        "volume-too-small",
        "A thin volume of block storage has room for its data at first.",
        "    return min(expected_size(disk) + tables, disk.size + tables)",
        "    return tables",
    ),
    _chains(
        "layers-in-another-order",
        "Layers that no snapshot accounts for block the restore.",
        "    blockers += [\n",
        "    _ = [\n",
    ),
    _chains(
        "parent-not-renamed",
        "A layer names its parent by the new id of that.",
        "            if header is not None and header.backing != below:",
        "            if header is not None and header.backing is None:",
    ),
    _chains(
        "layer-too-small",
        "A layer on block storage has room for its file.",
        "    return min(layer.size, most_bytes(disk))",
        "    return min(layer.size // 2, most_bytes(disk))",
    ),
    _chains(
        "template-image-twice",
        "The image of a template comes back under another id: it may still be there.",
        '"image_id": None if base.template else base.image_id,',
        '"image_id": base.image_id,',
    ),
    _wanted(
        "younger-layers-kept",
        "As of a snapshot, younger layers are left out.",
        '"layers": disk.layers[: index + 1],',
        '"layers": disk.layers,',
    ),
    _wanted(
        "one-of-two-snapshots",
        "Of two snapshots of a description none is guessed.",
        '    if len(found) != 1:\n        have = ", ".join(f"{s.description}',
        '    if not found:\n        have = ", ".join(f"{s.description}',
    ),
    _wanted(
        "unknown-disk-left-out",
        "A disk that is not in the archive is told.",
        "        if len(found) == 1:\n",
        "        if len(found) < 2 and (found := found or records):\n",
    ),
    _undo(
        "made-and-left",
        "What was made is removed when a later step fails.",
        "                if not made.remove():",
        "                if made is None:",
    ),
    _undo(
        "oldest-first",
        "The latest goes first.",
        "            made = self._made.pop()\n            self._progress.step",
        "            made = self._made.pop(0)\n            self._progress.step",
    ),
    _undo(
        "kept-is-removed",
        "`--keep` keeps.",
        "        if self._keep:",
        "        if self._keep is None:",
    ),
    _undo(
        "unknown-until-made",
        "What is asked for is known before: an interrupted request is unwound, too.",
        "        self._made.append(made)\n        made.make()",
        "        made.make()\n        self._made.append(made)",
    ),
    _undo(
        "first-trouble-ends-it",
        "What cannot be removed keeps nothing else from being removed.",
        "            except Exception as problem:",
        "            except ZeroDivisionError as problem:",
    ),
)
