"""Breakages of what is known of VMs and disks, and of what a restore makes."""

from __future__ import annotations

from mutants.mutant import of

_MADE = "unit/ovirt/make/test_made.py"
_FACTS = "unit/ovirt/facts/test_facts_scripted.py"

_disks = of("ovirt/make/disks.py", _MADE)
_machines = of("ovirt/make/machines.py", _MADE)
_rebuild = of("ovirt/make/rebuild.py", _MADE)
_vm = of("ovirt/facts/vm.py", _FACTS)
_model = of("ovirt/facts/model.py", _FACTS)
_chain = of("ovirt/facts/chain.py", "unit/ovirt/facts/test_ovirt_chain.py")
_ovf_tree = of("ovirt/facts/ovf_tree.py", "unit/ovirt/facts/test_ovf.py unit/ovirt/facts/test_ovirt_ovf.py")
_ovf = of("ovirt/facts/ovf.py", "unit/ovirt/facts/test_ovf.py unit/ovirt/facts/test_ovirt_ovf.py")

MUTANTS = (
    _disks(
        "illegal-disk-accepted",
        "A disk that became illegal is told.",
        '        if facts.status == "illegal":',
        '        if facts.status == "":',
    ),
    _disks(
        "locked-disk-used",
        "A disk is used when it is `ok`.",
        'return facts if facts.status == "ok" else None',
        "return facts",
    ),
    _disks(
        "removal-not-waited-for",
        "A disk is gone when the engine has forgotten it.",
        "return True if not disk_exists(engine, disk_id) else None",
        "return True",
    ),
    _disks(
        "bitmaps-forgotten",
        "A disk that kept bitmaps keeps them again.",
        'backup=t.DiskBackup.INCREMENTAL if new.backup == "incremental" else t.DiskBackup.NONE,',
        "backup=t.DiskBackup.NONE,",
    ),
    _machines(
        "disks-removed-with-the-vm",
        "A VM is removed without its disks where that is asked.",
        "remove(detach_only=keep_disks)",
        "remove(detach_only=False)",
    ),
    _machines(
        "half-imported",
        "A VM is whole when its image is unlocked.",
        'lambda: None if self._status() == "image_locked" else True,',
        "lambda: True,",
    ),
    _machines(
        "missing-disk-unnoticed",
        "A disk that did not attach is named.",
        "return [disk_id for disk_id in expected if disk_id not in attached]",
        "return [disk_id for disk_id in expected if not attached]",
    ),
    _machines(
        "failed-start-is-a-start",
        "A VM that does not start is told.",
        '        if status == "down":',
        '        if status == "":',
    ),
    _machines(
        "unprotected",
        "A VM is protected while it is restored.",
        "delete_protected=True",
        "delete_protected=False",
    ),
    _rebuild(
        "lost-snapshot-found",
        "A snapshot that vanished is told.",
        "        if snapshot is None:\n            raise RestoreFailed",
        "        if snapshot is False:\n            raise RestoreFailed",
    ),
    _vm(
        "any-case-of-a-name",
        "A name is exact.",
        "found = [vm for vm in _named(engine, name_or_id) if vm.name == name_or_id]",
        "found = _named(engine, name_or_id)",
    ),
    _vm(
        "first-of-several",
        "Of several VMs of a name none is guessed.",
        "    if len(found) > 1:",
        "    if len(found) > 9:",
    ),
    _vm(
        "name-in-a-search",
        "A name is put into a search only where it cannot be more than a name.",
        're.fullmatch(r"[\\w.-]+", name)',
        're.match(r"[\\w.-]+", name)',
    ),
    _vm(
        "first-page-only",
        "A long list is read to its end.",
        "if len(found) < _PAGE or not fresh:",
        "if len(found) <= _PAGE or not fresh:",
    ),
    _vm(
        "empty-ovf",
        "An empty OVF is asked again.",
        'return vm, data.encode("utf-8") if data and data.strip() else None',
        'return vm, data.encode("utf-8") if data else None',
    ),
    _vm(
        "rounded-size",
        "The size of a disk is exact.",
        "size=size(disk.provisioned_size),",
        "size=size(disk.provisioned_size) >> 10 << 10,",
    ),
    _model(
        "shareable-backed-up",
        "A shareable disk is left out: no backup of it can be consistent.",
        '        if self.shareable:\n            return "shareable"\n',
        "",
    ),
    _model(
        "nvram-loss-untold",
        "State that no OVF carries is told.",
        'return self.bios_type in ("q35_ovmf", "q35_secure_boot")',
        'return self.bios_type == "q35_secure_boot"',
    ),
    of("ovirt/facts/storage.py", _FACTS)(
        "status-of-the-wrong-place",
        "A domain's status is its data center's word.",
        "status=status or _text(domain.status),",
        "status=_text(domain.status) or status,",
    ),
    of("ovirt/facts/inventory.py", _FACTS)(
        "unknown-room-is-none",
        "A domain whose room is not known is not full.",
        "        if d.available is not None\n",
        "",
    ),
    of("ovirt/facts/checkpoints.py", _FACTS)(
        "removal-of-a-checkpoint-not-waited-for",
        "A checkpoint is gone when it is listed no more.",
        "return None if checkpoint_id in held else True",
        "return True",
    ),
    _chain(
        "two-layers-on-one",
        "A chain is one line.",
        "        if len(above) > 1:",
        "        if len(above) > 2:",
    ),
    _chain(
        "lost-layer",
        "Every layer belongs to it.",
        "    if len(ordered) != len(by_id):",
        "    if len(ordered) > len(by_id):",
    ),
    _chain(
        "illegal-layer",
        "A layer that the engine calls illegal is not read.",
        'if layer.status == "illegal"]',
        'if layer.status == ""]',
    ),
    _chain(
        "other-parent-in-the-file",
        "The parent in the file is the engine's.",
        "    if header.backing != layer.parent:",
        "    if header.backing is None and layer.parent:",
    ),
    _chain(
        "other-size-in-the-file",
        "So is the size.",
        "    if header.virtual_size != layer.capacity:",
        "    if header.virtual_size < layer.capacity:",
    ),
    _ovf_tree(
        "dtd-read",
        "An OVF with a DTD is refused.",
        "forbid_dtd=True",
        "forbid_dtd=False",
        survives="defusedxml refuses entities besides, and a DTD without any does no harm.",
    ),
    _ovf(
        "macs-kept",
        "A copy gets MAC addresses of its own.",
        "        nics = {nic.id: NicChange(new_mac=True) for nic in facts.nics} if fresh else {}",
        "        nics = {}",
    ),
    _ovf(
        "ids-in-snapshots-kept",
        "The configurations that snapshots keep are rewritten, too.",
        '            element.text = _stored(element.text or "", ids)',
        '            element.text = element.text or ""',
    ),
    _ovf(
        "prose-rewritten",
        "What people wrote is left alone.",
        "elif element.text and element.tag not in _PROSE:",
        "elif element.text:",
    ),
    _ovf(
        "protected-for-ever",
        "A VM that was protected can be removed while it is restored.",
        "    if facts.delete_protected and content is not None:",
        "    if facts.delete_protected and content is None:",
    ),
    _ovf(
        "disk-left-in",
        "Disks that are not restored leave the OVF.",
        "            if gone:\n                parent.remove(child)",
        "            if gone:\n                pass",
    ),
)
