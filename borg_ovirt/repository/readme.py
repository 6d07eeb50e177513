"""The README.txt of each archive: how to get the VM back with borg, qemu-img and ovirt-img alone."""

from __future__ import annotations

from collections.abc import Mapping

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

3. Bring each disk back into oVirt, in the form it had: `--format qcow2` makes a disk that keeps a record of
   changes (incremental backups), from the raw file here. On another domain: block storage (iSCSI, FC) takes
   raw disks only with --preallocated. The upload gives the disk its old id again, by which the VM finds it
   in step 4; leave out --disk-id if a disk of that id still exists, and attach the new one by hand.

{uploads}{vm}"""

_VM = """\
4. Make the VM from vm.ovf. Its text has to stand in XML, with its signs escaped; the first command does that.
   The VM finds its disks by their ids. The answer names the new VM; the Administration Portal shows it.

     {wrap} > vm.xml
     curl --cacert CA_FILE --user admin@ovirt@internalsso --header 'Content-Type: application/xml' \\
         --data-binary @vm.xml https://ENGINE/ovirt-engine/api/vms

   Look afterwards at its network cards, and set again what no OVF brings: {beside}.
"""

_WRAP = (
    "python3 -c 'import sys; from xml.sax.saxutils import escape as e; "
    'print("<vm><name>" + e(sys.argv[1]) + "</name><cluster><name>" + e(sys.argv[2]) + "</name></cluster>'
    '<initialization><configuration><data>" + e(open("vm.ovf", encoding="utf-8").read()) + '
    '"</data><type>ovf</type></configuration></initialization></vm>")\' '
)
"""A line for the shell that writes the request; the names of VM and cluster come behind it."""

_UPLOAD = """\
     # {alias}: {size} bytes, {format}{sparse}{domain}{interface}{bootable}
     ovirt-img upload-disk --engine-url https://ENGINE --username admin@ovirt@internalsso \\
         --password-file PASSWORD_FILE --cafile CA_FILE \\
         --storage-domain {target} --format {form} --disk-id {id} --name {name} {path}

"""

_CHAIN = """\

1. Take the files out. Each layer of a disk is a file of its own, named by its image id; a layer names its
   parent by that bare name, so a chain opens as it lies.

     borg extract --sparse REPO::{archive}

2. Look at a disk as of its newest layer, then join its layers into one image:

{joins}
3. Bring each disk back into oVirt, under its old id, by which the VM finds it in step 4:

{uploads}{earlier}{vm}"""

_EARLIER = """\
   An earlier state is the same with an earlier layer in step 2; the manifest tells which VM snapshot owns
   which layer. Layers by hand give the content of every snapshot, but not the snapshots themselves.

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
            vm=_vm(manifest),
        )
    else:
        joins = "".join(
            _JOIN.format(alias=_plain(disk.alias), top=disk.layers[-1].path, id=disk.id)
            for disk in manifest.disks
        )
        uploads = "".join(_upload(disk, f"{disk.id}.qcow2") for disk in manifest.disks)
        text += _CHAIN.format(
            archive=archive, joins=joins, uploads=uploads, earlier=_EARLIER, vm=_vm(manifest)
        )
    if manifest.skipped:
        names = ", ".join(f"{_plain(s.alias or s.id)} ({_plain(s.reason)})" for s in manifest.skipped)
        text += f"\nNot in this archive: {names}.\n"
    return text + _TAIL


def readme_of_files(manifest: Manifest, archive: str, files: Mapping[str, str]) -> str:
    """The same for what `extract --to` wrote: `files` maps paths of the archive to names of files."""
    text = readme(manifest, archive)
    for path, file in files.items():
        text = text.replace(path, file)
    first = (
        "These files were taken out of the archive by `borg-ovirt extract --to`: step 1 below is done.\n\n"
    )
    if any(file.endswith(".qcow2") for file in files.values()):
        first += "They are qcow2 images: leave out `-f raw`, `--format=raw` and the joining of layers.\n\n"
    return first + text


def _upload(disk: DiskRecord, file: str | None = None) -> str:
    """`file`: a qcow2 image made of its layers, instead of the archived one."""
    return _UPLOAD.format(
        alias=_plain(disk.alias),
        size=disk.size,
        format="qcow2" if disk.format == "cow" else "raw",
        sparse=", thin" if disk.sparse else ", preallocated",
        domain=f", on {_plain(disk.storage_domain)}" if disk.storage_domain else "",
        interface=f", {disk.interface}" if disk.interface else "",
        bootable=", bootable" if disk.bootable else "",
        target=_quoted(disk.storage_domain or "DOMAIN"),
        form="qcow2" if file else _form(disk),
        id=disk.id,
        name=_quoted(disk.alias or disk.id),
        path=file or disk.path,
    )


def _form(disk: DiskRecord) -> str:
    """What it is to be made as: change tracking needs qcow2, block storage takes no sparse raw disk, and file
    storage no raw one of a size that is no multiple of 4096.
    """
    block = disk.storage_type in ("iscsi", "fcp")
    if disk.format == "cow" or disk.backup == "incremental" or (disk.size % 4096 and not block):
        return "qcow2"
    return "raw --preallocated" if block or not disk.sparse else "raw"


def _vm(manifest: Manifest) -> str:
    vm = manifest.vm
    wrap = _WRAP + f"{_quoted(vm.name)} {_quoted(vm.cluster or 'Default')}"
    settings = vm.settings
    beside = [f"tags ({', '.join(vm.tags)})"] if vm.tags else []
    for word in ("quota", "labels", "groups", "cloud_init", "numa", "permissions", "cdrom"):
        if settings is not None and getattr(settings, word):
            beside.append(
                word.replace("_", "-")
                .replace("labels", "affinity labels")
                .replace("groups", "affinity groups")
            )
    told = (
        f"{_plain(', '.join(beside))}; manifest.json tells them (vm.settings)" if beside else "nothing here"
    )
    return _VM.format(wrap=wrap, beside=told)


def _plain(text: str) -> str:
    """Names come from users: one line, nothing that moves the cursor."""
    return "".join(c if c.isprintable() else " " for c in text)


def _quoted(text: str) -> str:
    return "'" + _plain(text).replace("'", "'\\''") + "'"
