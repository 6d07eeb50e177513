"""Archives whose layers would make a host open other files: nothing of them reaches a host, or qemu-img."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from chainbench import Bench
from ovirtbox.box import Box
from ovirtbox.model import Vm
from restored import make

from borg_ovirt.errors import RestoreBlocked
from borg_ovirt.repository.layout import OVF, comment_of

SECRET = b"root:x:0:0:a file of the host"


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return make(box, "bait")


def qcow2(path: Path, size: int, *options: str) -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), str(size)], check=True)
    return path.read_bytes()


def data_file(place: Path, honest: bytes, size: int) -> bytes:
    secret = place / "passwd"
    secret.write_bytes(SECRET)
    made = qcow2(place / "evil", size, "-o", f"data_file={place / 'data'},data_file_raw=on")
    return made.replace(str(place / "data").encode(), str(secret).ljust(len(str(place / "data"))).encode())


def strange_parent(place: Path, honest: bytes, size: int) -> bytes:
    secret = place / "passwd"
    secret.write_bytes(SECRET)
    return qcow2(place / "evil", size, "-u", "-b", str(secret), "-F", "raw")


def encrypted(place: Path, honest: bytes, size: int) -> bytes:
    return qcow2(
        place / "evil",
        size,
        *("--object", "secret,id=s,data=x"),
        *("-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"),
    )


def other_size(place: Path, honest: bytes, size: int) -> bytes:
    return qcow2(place / "evil", size + 512)


def no_qcow2(place: Path, honest: bytes, size: int) -> bytes:
    return bytes(len(honest))


LIES: dict[Callable[[Path, bytes, int], bytes], str] = {
    data_file: "in another file",
    strange_parent: "names parent .*passwd, the manifest None",
    encrypted: "encrypted",
    other_size: "for a disk of",
    no_qcow2: "does not begin as a qcow2 file does",
}


def forge(bench: Bench, archive: str, lie: Callable[[Path, bytes, int], bytes]) -> str:
    """The archive again, the base layer of its first qcow2 disk another file, all else consistent."""
    with bench.repository(write=True) as repository:
        old = repository.archive(archive)
        disk = next(d for d in old.manifest.disks if d.layers[0].format == "cow")
        base = disk.layers[0]
        honest = b"".join(map(bytes, old.disk(base.path).fetch(old.disk(base.path).chunks)))
        bench.root.joinpath("forged").mkdir()
        evil = lie(bench.root / "forged", honest, base.capacity)
        evil_disk = disk.model_copy(
            update={"layers": (base.model_copy(update={"size": len(evil)}), *disk.layers[1:])}
        )
        disks = tuple(evil_disk if d.id == disk.id else d for d in old.manifest.disks)
        manifest = old.manifest.model_copy(update={"disks": disks})
        with repository.writer("forged", started=old.manifest.run.started) as writer:
            writer.add_file(OVF, old.ovf)
            for path, size in manifest.contents.items():
                sink = writer.disk(path, size, 1 << 20)
                content = old.disk(path)
                data = evil if path == base.path else b"".join(map(bytes, content.fetch(content.chunks)))
                for start in range(0, size, 1 << 20):
                    cell = data[start : start + (1 << 20)]
                    if cell.strip(b"\0"):
                        sink.store(sink.prepare(memoryview(cell)))
                    else:
                        sink.zero(len(cell))
                sink.close()
            writer.commit(comment_of(manifest), manifest)
    return "forged"


@pytest.mark.thin(3)
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_no_other_file_is_ever_opened(
    bench: Bench, box: Box, vm: Vm, lie: Callable[[Path, bytes, int], bytes]
) -> None:
    archive = forge(bench, bench.create(vm).archive, lie)
    before = set(box.world.vms), set(box.world.disks)
    for wanted in (
        {"name": "copy"},
        {"name": "copy", "flatten": True},
        {"name": "copy", "snapshot": "before"},
        {"disks": ("root",)},
        {"directory": bench.root / "lies"},
        {"directory": bench.root / "flat", "flatten": True},
        {"directory": bench.root / "qcow2", "form": "qcow2"},
    ):
        with pytest.raises(RestoreBlocked, match=LIES[lie]):
            bench.extract(archive, work_dir=bench.root, **wanted)  # type: ignore[arg-type]
        plan = bench.extract(archive, dry_run=True, **wanted).plan  # type: ignore[arg-type]
        assert any("disk root is not sound" in blocker for blocker in plan.blockers)
    assert (set(box.world.vms), set(box.world.disks)) == before
    assert not [path for name in ("lies", "flat", "qcow2") if (path := bench.root / name).exists()]
    bench.assert_clean()


def test_what_is_not_wanted_is_in_nobodys_way(bench: Bench, box: Box, vm: Vm) -> None:
    archive = forge(bench, bench.create(vm).archive, data_file)
    bench.extract(archive, directory=bench.root / "out", disks=("data",), flatten=True)
    data = next(disk for disk in box.disks(vm) if disk.alias == "data")
    assert (bench.root / "out" / f"{data.id}.raw").read_bytes() == box.content(data).read_bytes()
