"""The README.txt of each archive: how to get the VM back with borg, qemu-img and ovirt-img alone."""

from __future__ import annotations

from borg_ovirt.repository.manifest import DiskRecord, Manifest

_HEAD = """\
{vm} - backup of an oVirt virtual machine
{line}

VM id      {vm_id}
Instant    {instant:%Y-%m-%d %H:%M:%S} UTC
Engine     {engine}
Archive    {archive}

This is a complete, ordinary Borg archive. It needs no other archive and no program but `borg` to read it.
The quick way back is `borg-ovirt extract REPO::{archive}`. Without borg-ovirt, do by hand what follows.
Write your repository for REPO, and run borg in an empty directory with room for the disks.

What is in here
  manifest.json   facts that the OVF lacks or rounds: exact sizes, formats, attachments, how it was read
  vm.ovf          the VM's configuration, byte for byte as the engine gave it
"""

_IMAGE = """\

1. Take the files out. Zeros become holes, so this needs no more room than the data.

     borg extract --sparse REPO::{archive}

2. Look at a disk, or at the files in it, without oVirt (needs qemu-utils and guestfish):

     qemu-img info -f raw {path}
     guestfish --ro --format=raw -a {path} -i

3. Bring each disk back into oVirt. The upload gives it the old disk id again; leave out --disk-id if a disk
   of that id still exists. On a block storage domain (iSCSI, FC) add --preallocated, or let the upload
   convert to qcow2 with --format qcow2.

{uploads}
4. Make the VM: in the Administration Portal create a VM named {vm} with the CPUs, memory, firmware and
   network cards that vm.ovf names, and attach the disks uploaded above{boot}. With a program, send
   the text of vm.ovf to the API as `initialization.configuration.data` of a new VM.
"""

_UPLOAD = """\
     # {alias}: {size} bytes, {format}{sparse}{domain}{interface}{bootable}
     ovirt-img upload-disk --engine-url https://ENGINE --username admin@ovirt@internalsso \\
         --password-file PASSWORD_FILE --cafile CA_FILE \\
         --storage-domain {target} --format raw --disk-id {id} --name {name} {path}

"""

_CHAIN = """\

1. Take the files out. Each layer of a disk is a file of its own, named by its image id; a layer names its
   parent by that bare name, so a chain opens as it lies.

     borg extract --sparse REPO::{archive}

2. Look at a disk as of its newest layer, then join its layers into one image:

{joins}
3. Bring each disk back into oVirt (add --preallocated on a block storage domain):

     ovirt-img upload-disk --engine-url https://ENGINE --username admin@ovirt@internalsso \\
         --password-file PASSWORD_FILE --cafile CA_FILE --storage-domain DOMAIN --format qcow2 DISK.qcow2

   An earlier state is the same with an earlier layer in step 2; the manifest tells which VM snapshot owns
   which layer. Layers by hand give the content of every snapshot, but not the snapshots themselves.

4. Make the VM from vm.ovf as in the Administration Portal: CPUs, memory, firmware, network cards, then
   attach the disks uploaded above.
"""

_JOIN = """\
     # {alias}
     qemu-img info --backing-chain {top}
     qemu-img convert -O qcow2 {top} {id}.qcow2

"""

_TAIL = """\

Is it intact? `borg check --verify-data --archives-only REPO` reads and checks every byte.
"""


def readme(manifest: Manifest, archive: str) -> str:
    """The text for one archive."""
    run = manifest.run
    text = _HEAD.format(
        vm=_plain(manifest.vm.name),
        line="=" * (len(_plain(manifest.vm.name)) + 41),
        vm_id=manifest.vm.id,
        instant=run.instant or run.started,
        engine=run.engine,
        archive=archive,
    )
    for disk in manifest.disks:
        text += f"  {disk.path}   {_plain(disk.alias)}, {disk.size} bytes\n"
    if manifest.mode == "image":
        text += _IMAGE.format(
            archive=archive,
            path=manifest.disks[0].path if manifest.disks else "DISK",
            uploads="".join(_upload(disk) for disk in manifest.disks),
            vm=_plain(manifest.vm.name),
            boot=_boot(manifest),
        )
    else:
        joins = "".join(
            _JOIN.format(alias=_plain(disk.alias), top=disk.layers[-1].path, id=disk.id)
            for disk in manifest.disks
        )
        text += _CHAIN.format(archive=archive, joins=joins)
    if manifest.skipped:
        names = ", ".join(f"{_plain(s.alias or s.id)} ({_plain(s.reason)})" for s in manifest.skipped)
        text += f"\nNot in this archive: {names}.\n"
    return text + _TAIL


def _upload(disk: DiskRecord) -> str:
    return _UPLOAD.format(
        alias=_plain(disk.alias),
        size=disk.size,
        format="qcow2" if disk.format == "cow" else "raw",
        sparse=", thin" if disk.sparse else ", preallocated",
        domain=f", on {_plain(disk.storage_domain)}" if disk.storage_domain else "",
        interface=f", {disk.interface}" if disk.interface else "",
        bootable=", bootable" if disk.bootable else "",
        target=_quoted(disk.storage_domain or "DOMAIN"),
        id=disk.id,
        name=_quoted(disk.alias or disk.id),
        path=disk.path,
    )


def _boot(manifest: Manifest) -> str:
    bootable = [disk.id for disk in manifest.disks if disk.bootable]
    return f", {bootable[0]} as the bootable one" if bootable else ""


def _plain(text: str) -> str:
    """Names come from users: one line, nothing that moves the cursor."""
    return "".join(c if c.isprintable() else " " for c in text)


def _quoted(text: str) -> str:
    return "'" + _plain(text).replace("'", "'\\''") + "'"
