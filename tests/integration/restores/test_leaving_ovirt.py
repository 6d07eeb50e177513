"""An archive without any oVirt: libvirt takes it as a domain, and the guest speaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness import Desk
from libvirt_host import boot_sector, define, first_words, open_place, valid
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

HELLO = b"hello from the archive"


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    root = DiskSpec(8 * MIB, bootable=True, alias="root", content=[(0, boot_sector(HELLO))])
    data = DiskSpec(4 * MIB, format="raw", alias="data", interface="virtio")
    vm = box.make_vm("leaver", [root, data], running=False, nics=2)
    box.snapshot(vm, "before")
    box.fill(box.disks(vm)[0], 4 * MIB, MIB, seed=3)
    return vm


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as made:
        yield made


@pytest.mark.thin(1)
@pytest.mark.parametrize(("mode", "form"), [("image", "qcow2"), ("chain", None)])
def test_it_boots_where_no_engine_is(
    box: Box, desk: Desk, vm: Vm, place: Path, mode: str, form: str | None
) -> None:
    archive = desk.create(vm, "--mode", mode)["archive"]
    out = place / "out"
    networks = ["--network", f"{vm.nics[0].network}=none"]
    more = ["--format", form] if form else []
    command = ["extract", f"{desk.repo}::{archive}", "--to", str(out), "--as", "libvirt", *networks, *more]
    nowhere = {"BORG_OVIRT_URL": "", "BORG_OVIRT_PASSWORD": ""}
    would = desk.run(*command, "--dry-run", **nowhere).ok()
    assert f"would write {out}/domain.xml" in would.out
    assert not out.exists()
    desk.run(*command, **nowhere).ok()
    valid(out / "domain.xml")
    domain = (out / "domain.xml").read_bytes()
    kept = define(domain, out)
    assert kept.findtext("uuid") == vm.id
    sources = [Path(s.get("file", "")) for s in kept.iterfind("devices/disk/source")]
    assert len(sources) == 2
    assert all(path.is_file() for path in sources)
    macs = [mac.get("address") for mac in kept.iterfind("devices/interface/mac")]
    assert macs == [nic.mac for nic in vm.nics]
    first_words(domain, out, HELLO)


def test_what_has_no_counterpart_is_told_and_what_is_there_is_kept(
    box: Box, desk: Desk, vm: Vm, tmp_path: Path
) -> None:
    archive = desk.create(vm)["archive"]
    out = tmp_path / "out"
    out.mkdir()
    (out / "domain.xml").write_text("mine")
    command = ["extract", f"{desk.repo}::{archive}", "--as", "libvirt", "--to"]
    refused = desk.run(*command, str(out))
    assert refused.code == 40
    assert "already holds domain.xml" in refused.err
    assert (out / "domain.xml").read_text() == "mine"
    network = vm.nics[0].network
    said = desk.run(*command, str(tmp_path / "new"), "--network", f"{network}=lan", "--json").ok()
    assert any(f"network lan for {network}" in note for note in said.json["plan"]["notes"])
    root = ElementTree.parse(tmp_path / "new" / "domain.xml")
    assert {s.get("network") for s in root.iterfind("devices/interface/source")} == {"lan"}
    assert desk.run("extract", f"{desk.repo}::{archive}", "--as", "libvirt").code == 2
