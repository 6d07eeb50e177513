"""Single files out of real file systems, through libguestfs: run by `make guestfs`, which needs guestfish.

libguestfs makes the file systems, too, with the tools that its appliance takes from this machine: xfsprogs
(Debian: libguestfs-xfs), btrfs-progs, ntfs-3g, dosfstools, lvm2. Without KVM it is slow, and needs
LIBGUESTFS_BACKEND=direct; where its kernel stops at once (QEMU 7.2's `-cpu max` with Linux 6.1),
LIBGUESTFS_HV names a wrapper of QEMU that asks for `-cpu qemu64`.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

SIZE = 512 * MIB
BIG = 3 * MIB + 17
PLACES = {
    "/dev/sda1": "vfat",
    "/dev/sda2": "ntfs",
    "/dev/sda3": "btrfs",
    "/dev/sdb1": "ext4",
    "/dev/site/root": "xfs",
    "/dev/site/home": "ext4",
}
MAKE = """
run
part-init /dev/sda gpt
part-add /dev/sda primary 2048 133119
part-add /dev/sda primary 133120 264191
part-add /dev/sda primary 264192 -2048
part-init /dev/sdb mbr
part-add /dev/sdb primary 2048 67583
part-add /dev/sdb primary 67584 -1
pvcreate /dev/sdb2
vgcreate site /dev/sdb2
lvcreate root site 320
lvcreate home site 64
"""
SYSTEM = """
mkdir-p /etc
mkdir-p /bin
mkdir-p /home
mkdir-p /boot
write /etc/os-release "ID=debian\\nNAME=Debian\\nVERSION_ID=12\\n"
write /etc/debian_version 12.1
write /etc/hostname guest
write /etc/fstab "/dev/site/root / xfs defaults 0 0\\n/dev/site/home /home ext4 defaults 0 0\\n"
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box.start(tmp_path_factory.mktemp("box")) as started:
        yield started


def big(device: str) -> bytes:
    """What lies in each file system: more than a chunk of no round size."""
    return random.Random(device).randbytes(BIG)


@pytest.fixture(scope="module")
def vm(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Vm:
    """Two disks: a partition each of vfat, ntfs, btrfs and ext4, and a volume group of xfs and ext4."""
    place = tmp_path_factory.mktemp("images")
    script = MAKE
    for device, kind in PLACES.items():
        content = place / device.replace("/", "_")
        content.write_bytes(big(device))
        script += f"mkfs {kind} {device}\nmount {device} /\nmkdir /dir\nupload {content} /dir/big\n"
        script += f'write /dir/hello "from {device}\\n"\n'
        script += SYSTEM if device == "/dev/site/root" else ""
        script += "umount-all\n"
    images = [place / "a.raw", place / "b.raw"]
    for image in images:
        image.touch()
        with image.open("r+b") as file:
            file.truncate(SIZE)
    drives = [word for image in images for word in ("-a", str(image))]
    subprocess.run(["guestfish", "--format=raw", *drives], input=script, text=True, check=True)
    specs = [
        DiskSpec(SIZE, alias=image.stem, content=list(_data(image)), bootable=image is images[0])
        for image in images
    ]
    return box.make_vm("guest", specs, running=False)


def _data(image: Path) -> Iterator[tuple[int, bytes]]:
    with image.open("rb") as file:
        for offset in range(0, SIZE, MIB):
            block = file.read(MIB)
            if block.strip(b"\0"):
                yield offset, block


@pytest.mark.parametrize("mode", ["image", "chain"])
def test_files_are_listed_and_copied(box: Box, vm: Vm, tmp_path: Path, mode: str) -> None:
    desk = Desk(box, tmp_path / "desk")
    archive = f"{desk.repo}::{desk.create(vm, '--mode', mode)['archive']}"
    out = tmp_path / "out"
    listed = desk.run("files", archive).ok().out.splitlines()
    assert set(listed) == {f"{device}: {kind}" for device, kind in PLACES.items()}
    # The guest's own tree, over both volumes.
    assert "hello" in desk.run("files", f"{archive}:/dir").ok().out
    desk.run("files", f"{archive}:/home/dir", "--to", str(out)).ok()
    assert (out / "dir" / "big").read_bytes() == big("/dev/site/home")
    for device in PLACES if mode == "image" else ("/dev/sda3", "/dev/site/root"):
        each = out / device.replace("/", "_")
        copied = desk.run("files", f"{archive}:/dir/big", "--mount", device, "--to", str(each)).ok()
        assert copied.out == f"{each}/big\n"
        assert (each / "big").read_bytes() == big(device)
    desk.assert_clean()


def test_what_is_not_there_and_what_is_there_already(box: Box, vm: Vm, tmp_path: Path) -> None:
    desk = Desk(box, tmp_path / "desk")
    archive = f"{desk.repo}::{desk.create(vm)['archive']}"
    out = tmp_path / "out"
    where = ("--mount", "/dev/sdb1", "--to", str(out))
    assert desk.run("files", f"{archive}:/dir/nothing", *where).code == 41
    desk.run("files", f"{archive}:/dir/hello", *where).ok()
    assert (out / "hello").read_text() == "from /dev/sdb1\n"
    assert desk.run("files", f"{archive}:/dir/hello", *where).code == 40
    desk.assert_clean()
