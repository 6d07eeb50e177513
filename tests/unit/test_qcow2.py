"""Headers of qcow2 files as qemu-img writes them, read and given another backing name."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from borg_ovirt.blocks import MiB
from borg_ovirt.qcow2 import HEAD, BadHeader, backing_patch, read_header

PARENT = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"


def make(path: Path, size: int, *options: str) -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), str(size)], check=True)
    return path.read_bytes()


@pytest.mark.parametrize(("compat", "version"), [("0.10", 2), ("1.1", 3)])
def test_a_base(tmp_path: Path, compat: str, version: int) -> None:
    header = read_header(make(tmp_path / "base", 5 * MiB + 512, "-o", f"compat={compat}")[:HEAD])
    assert header == (version, 5 * MiB + 512, None, 0)


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
@pytest.mark.parametrize("cluster", ["512", "65536", "2097152"])
def test_a_layer_gets_another_parent(tmp_path: Path, compat: str, cluster: str) -> None:
    path = tmp_path / "layer"
    options = ("-u", "-b", PARENT, "-F", "raw", "-o", f"compat={compat},cluster_size={cluster}")
    data = bytearray(make(path, 7 * MiB, *options))
    header = read_header(data[:HEAD])
    assert (header.backing, header.virtual_size) == (PARENT, 7 * MiB)
    patch = backing_patch(header, OTHER)
    data[patch.offset : patch.offset + len(patch.data)] = patch.data
    path.write_bytes(data)
    command = ["qemu-img", "info", "--output=json", str(path)]
    info = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert info["backing-filename"] == OTHER
    assert info["backing-filename-format"] == "raw"
    assert info["virtual-size"] == 7 * MiB
    assert read_header(data[:HEAD]).backing == OTHER


def test_a_name_of_another_length_is_refused(tmp_path: Path) -> None:
    header = read_header(make(tmp_path / "layer", MiB, "-u", "-b", PARENT, "-F", "qcow2"))
    with pytest.raises(BadHeader, match="lengths differ"):
        backing_patch(header, OTHER + "x")


def test_a_base_names_no_parent(tmp_path: Path) -> None:
    with pytest.raises(BadHeader, match="no backing name"):
        backing_patch(read_header(make(tmp_path / "base", MiB)), OTHER)


@pytest.mark.parametrize(
    ("place", "data", "why"),
    [
        (0, b"QFI\x00", "does not begin"),
        (4, (4).to_bytes(4, "big"), "version is 4"),
        (20, (40).to_bytes(4, "big"), "clusters"),
        (8, (1 << 40).to_bytes(8, "big"), "backing name lies"),
        (16, (0).to_bytes(4, "big"), "backing name lies"),
        (16, (5000).to_bytes(4, "big"), "backing name lies"),
        (8, (8).to_bytes(8, "big"), "backing name lies"),
        (32, (1).to_bytes(4, "big"), "encrypted"),
        (32, (2).to_bytes(4, "big"), "encrypted"),
        (79, b"\x20", "not known"),
        (79, b"\x04", "in another file"),
        (100, (8).to_bytes(4, "big"), "its header has 8 bytes"),
        (112, (0x44415441).to_bytes(4, "big"), "names another file"),
        (116, (1 << 20).to_bytes(4, "big"), "longer than the header"),
        (120, b"nbd", "another format"),
    ],
)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, place: int, data: bytes, why: str) -> None:
    head = bytearray(make(tmp_path / "layer", MiB, "-u", "-b", PARENT, "-F", "raw")[:HEAD])
    head[place : place + len(data)] = data
    with pytest.raises(BadHeader, match=why):
        read_header(head)


def test_a_file_whose_data_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    head = make(tmp_path / "image", MiB, "-o", f"data_file={tmp_path / 'elsewhere'}")[:HEAD]
    with pytest.raises(BadHeader, match="in another file"):
        read_header(head)


def test_a_data_file_is_seen_wherever_its_extension_stands(tmp_path: Path) -> None:
    """QEMU reads on to the backing name, or to the end of the first cluster, however long it is."""
    head = bytearray(make(tmp_path / "image", MiB, "-o", "cluster_size=2097152"))
    far = HEAD - 112
    head[112:120] = (0x6803F857).to_bytes(4, "big") + far.to_bytes(4, "big")
    with pytest.raises(BadHeader, match="beyond the bytes at hand"):
        read_header(head[:HEAD])
    near = 1000
    head[116:120] = near.to_bytes(4, "big")
    head[120 + near : 128 + near] = (0x44415441).to_bytes(4, "big") + (8).to_bytes(4, "big")
    with pytest.raises(BadHeader, match="names another file"):
        read_header(head[:HEAD])


@pytest.mark.parametrize("option", ["encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"])
def test_an_encrypted_file_is_refused(tmp_path: Path, option: str) -> None:
    head = make(tmp_path / "image", MiB, "--object", "secret,id=s,data=x", "-o", option)[:HEAD]
    with pytest.raises(BadHeader, match="encrypted"):
        read_header(head)


@pytest.mark.parametrize("length", [0, 4, 31, 35])
def test_too_few_bytes(length: int) -> None:
    with pytest.raises(BadHeader, match=f"{length} bytes"):
        read_header(b"QFI\xfb"[:length].ljust(length, b"\0"))
