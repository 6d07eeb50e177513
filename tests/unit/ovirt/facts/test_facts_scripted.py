"""What is known of VMs, disks, domains and checkpoints is what the engine said, exactly."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from unit.ovirt.script import Answer, Request, Script

from borg_ovirt.errors import EngineRefused, Timeout, VmNotFound, VmNotSuitable
from borg_ovirt.ovirt.facts import inventory, storage
from borg_ovirt.ovirt.facts.checkpoints import checkpoint_disks, list_checkpoints, remove_checkpoint
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.ovirt.facts.vm import fetch_ovf, find_vm, list_vms, look_up, read_disk
from borg_ovirt.ovirt.session.engine import Engine

ID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
VM = f"/vms/{ID}"
GONE = Answer(404, "<fault/>")


def vms(*named: tuple[str, str]) -> str:
    return "<vms>" + "".join(f"<vm id='{i}'><name>{name}</name></vm>" for i, name in named) + "</vms>"


# -- which VM ---------------------------------------------------------------------------------------------


def test_a_name_is_exact_and_one(script: Script, engine: Engine) -> None:
    """The engine's search minds neither case nor, in older versions, where a name ends."""
    script.on("GET", "/vms", vms((OTHER, "WEB01"), (ID, "web01"), (OTHER, "web01-copy")))
    assert look_up(engine, "web01").id == ID
    assert script.asked("GET", "/vms")[0].query["search"] == 'name="web01"'
    with pytest.raises(VmNotFound, match="no VM named web"):
        look_up(engine, "web")
    script.on("GET", "/vms", vms((OTHER, "web01"), (ID, "web01")))
    with pytest.raises(VmNotFound, match="2 VMs are named web01"):
        look_up(engine, "web01")


def test_a_name_that_no_search_can_hold_is_looked_for_in_all(script: Script, engine: Engine) -> None:
    name = 'my "VM" or name=*'
    script.on("GET", "/vms", vms((ID, name.replace('"', "&quot;")), (OTHER, "web01")))
    assert look_up(engine, name).id == ID
    assert "search" not in script.asked("GET", "/vms")[0].query


def test_an_id_is_an_id(script: Script, engine: Engine) -> None:
    script.on("GET", VM, f"<vm id='{ID}'><name>web01</name></vm>")
    assert look_up(engine, ID.upper()).name == "web01"
    script.on("GET", VM, GONE)
    with pytest.raises(VmNotFound, match=f"no VM with id {ID}"):
        look_up(engine, ID)
    with pytest.raises(VmNotFound):
        find_vm(engine, ID)


def test_a_search_is_read_page_by_page_to_its_end(script: Script, engine: Engine) -> None:
    """An engine that gives the last page again and again gives nothing new."""
    numbered = [(f"00000000-0000-4000-8000-{n:012}", f"vm{n:03}") for n in range(230)]

    def page(request: Request) -> str:
        number = min(int(request.query["search"].rsplit(" ", 1)[1]), 3)
        assert request.query["max"] == "100"
        return vms(*numbered[(number - 1) * 100 : number * 100])

    script.on("GET", "/vms", page)
    assert [vm.name for vm in list_vms(engine, "tag=backup")] == [name for _, name in numbered]
    assert len(script.asked("GET", "/vms")) == 3
    assert script.asked("GET", "/vms")[0].query["search"] == "tag=backup sortby name asc page 1"


# -- a VM -------------------------------------------------------------------------------------------------


@pytest.fixture
def full(script: Script) -> Script:
    """A VM with two disks and two snapshots."""
    script.on(
        "GET",
        VM,
        f"<vm id='{ID}'><name>web01</name><status>up</status><cluster id='c-1'/><origin>ovirt</origin>"
        "<bios><type>q35_ovmf</type></bios><tpm_enabled>true</tpm_enabled><host id='h-1'/>"
        "<template id='t-1'/><fqdn>web01.example</fqdn></vm>",
    )
    script.on(
        "GET",
        "/clusters/c-1",
        "<cluster id='c-1'><name>Default</name><version><major>4</major><minor>6</minor></version>"
        "<data_center id='dc-1'/></cluster>",
    )
    script.on(
        "GET",
        f"{VM}/tags",
        "<tags><tag id='1'><name>web</name></tag><tag id='2'><name>backup</name></tag></tags>",
    )
    script.on(
        "GET",
        f"{VM}/diskattachments",
        "<disk_attachments><disk_attachment id='d-2'><disk id='d-2'/><active>false</active></disk_attachment>"
        "<disk_attachment id='d-1'><disk id='d-1'/><active>true</active><bootable>true</bootable>"
        "<interface>virtio_scsi</interface><pass_discard>true</pass_discard></disk_attachment></disk_attachments>",
    )
    script.on(
        "GET",
        "/disks/d-1",
        "<disk id='d-1'><alias>root</alias><provisioned_size>1073741825</provisioned_size>"
        "<format>cow</format>"
        "<sparse>true</sparse><storage_type>image</storage_type><status>ok</status><backup>incremental</backup>"
        "<image_id>i-1</image_id><actual_size>4096</actual_size><qcow_version>qcow2_v3</qcow_version>"
        "<storage_domains><storage_domain id='sd-1'/></storage_domains></disk>",
    )
    script.on("GET", "/disks/d-2", "<disk id='d-2'><alias>lun</alias><lun_storage id='l'/></disk>")
    script.on(
        "GET",
        f"{VM}/snapshots",
        "<snapshots><snapshot id='s-0'><snapshot_type>active</snapshot_type></snapshot>"
        "<snapshot id='s-1'><description>before</description><snapshot_status>locked</snapshot_status>"
        "<persist_memorystate>true</persist_memorystate><date>2026-03-01T12:00:00.000+02:00</date></snapshot>"
        "</snapshots>",
    )
    return script


def test_all_of_a_vm(full: Script, engine: Engine) -> None:
    vm = find_vm(engine, ID)
    assert (vm.name, vm.status, vm.cluster_name, vm.level) == ("web01", "up", "Default", (4, 6))
    assert (vm.data_center_id, vm.host_id, vm.template_id) == ("dc-1", "h-1", "t-1")
    assert vm.lost_state == ("UEFI variables", "TPM state")
    assert vm.guest_agent
    assert vm.tags == ("backup", "web")
    root, lun = vm.disks
    assert (root.id, root.size, root.format, root.backup) == ("d-1", 1073741825, "cow", "incremental")
    assert (root.bootable, root.active, root.interface, root.pass_discard) == (
        True,
        True,
        "virtio_scsi",
        True,
    )
    assert (root.image_id, root.storage_domain, root.qcow_version) == ("i-1", "sd-1", "qcow2_v3")
    assert (lun.storage_type, lun.active, lun.skip_reason) == ("lun", False, "direct LUN")
    first, second = vm.snapshots
    assert (first.type, first.status) == ("active", "ok")
    assert (second.type, second.status, second.memory) == ("regular", "locked", True)
    assert second.date == datetime(2026, 3, 1, 10, tzinfo=timezone.utc)


def test_a_level_of_its_own_goes_before_the_clusters(full: Script, engine: Engine) -> None:
    full.on(
        "GET",
        VM,
        f"<vm id='{ID}'><name>web01</name><cluster id='c-1'/><custom_compatibility_version><major>4</major>"
        "<minor>3</minor></custom_compatibility_version></vm>",
    )
    vm = find_vm(engine, ID)
    assert (vm.level, vm.status, vm.guest_agent) == ((4, 3), "unknown", False)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"storage_type": "lun"}, "direct LUN"),
        ({"storage_type": "managed_block_storage"}, "managed block storage"),
        ({"storage_type": "tape"}, "storage type tape"),
        ({"shareable": True}, "shareable"),
        ({"content_type": "iso"}, "content type iso"),
        ({"status": "illegal"}, "illegal"),
        ({"status": "locked"}, None),
    ],
)
def test_why_a_disk_is_left_out(facts: dict[str, object], reason: str | None) -> None:
    settings = {"storage_type": "image", **facts}
    disk = DiskFacts("d", "root", 1, "cow", True, **settings)  # type: ignore[arg-type]
    assert disk.skip_reason == reason


@pytest.mark.parametrize("size", ["-1", "99999999999999999999"])
def test_a_size_that_none_can_be_is_refused(script: Script, engine: Engine, size: str) -> None:
    script.on("GET", "/disks/d-1", f"<disk id='d-1'><provisioned_size>{size}</provisioned_size></disk>")
    with pytest.raises(EngineRefused):
        read_disk(engine, "d-1")


# -- the OVF ----------------------------------------------------------------------------------------------


def ovf(data: str) -> str:
    return (
        f"<vm id='{ID}'><name>web01</name><initialization><configuration><type>ovf</type>"
        f"<data>{data}</data></configuration></initialization></vm>"
    )


def test_an_empty_ovf_is_asked_again(script: Script, engine: Engine) -> None:
    script.on("GET", f"{VM}/diskattachments", "<disk_attachments/>")
    script.on("GET", VM, f"<vm id='{ID}'/>", ovf("  "), ovf("&lt;ovf&gt;ä&lt;/ovf&gt;"))
    assert fetch_ovf(engine, ID) == "<ovf>ä</ovf>".encode()
    assert script.asked("GET", VM)[0].query["all_content"] == "true"


def test_an_ovf_that_never_comes_names_the_locked_disk(full: Script, engine: Engine) -> None:
    full.on("GET", VM, ovf(""))
    full.on("GET", "/disks/d-2", "<disk id='d-2'><alias>data</alias><status>locked</status></disk>")
    with pytest.raises(VmNotSuitable, match="web01: disk data is locked"):
        fetch_ovf(engine, ID)


# -- domains, hosts, places -------------------------------------------------------------------------------


@pytest.fixture
def site(script: Script) -> Script:
    """Two data domains and one of another kind, in one data center."""
    script.on(
        "GET",
        "/storagedomains",
        "<storage_domains>"
        "<storage_domain id='sd-1'><name>nfs1</name><type>data</type><available>100</available>"
        "<used>50</used><storage><type>nfs</type></storage><status>unattached</status><master>true</master>"
        "<data_centers><data_center id='dc-1'/></data_centers></storage_domain>"
        "<storage_domain id='sd-2'><name>san</name><type>data</type><storage><type>iscsi</type></storage>"
        "</storage_domain><storage_domain id='sd-3'><name>iso</name><type>iso</type><available>7</available>"
        "</storage_domain></storage_domains>",
    )
    script.on(
        "GET",
        "/datacenters",
        "<data_centers><data_center id='dc-1'><name>North</name></data_center></data_centers>",
    )
    script.on(
        "GET",
        "/datacenters/dc-1/storagedomains",
        "<storage_domains><storage_domain id='sd-1'><status>maintenance</status></storage_domain>"
        "</storage_domains>",
    )
    script.on(
        "GET",
        "/clusters",
        "<clusters><cluster id='c-1'><name>Default</name><data_center id='dc-1'/><version><major>4</major>"
        "<minor>7</minor></version></cluster><cluster id='c-2'><name>alone</name></cluster></clusters>",
    )
    return script


def test_domains_and_their_status_where_the_engine_is_sure_of_it(site: Script, engine: Engine) -> None:
    nfs, san = storage.list_domains(engine)
    assert (nfs.name, nfs.status, nfs.is_block, nfs.master) == ("nfs1", "maintenance", False, True)
    assert (nfs.available, nfs.used, nfs.data_center_id) == (100, 50, "dc-1")
    assert (san.name, san.is_block, san.available, san.data_center_id) == ("san", True, 0, None)
    assert storage.domain_names(engine) == {
        "sd-1": ("nfs1", "nfs"),
        "sd-2": ("san", "iscsi"),
        "sd-3": ("iso", ""),
    }


def test_room_is_told_only_where_it_is_known(site: Script, engine: Engine) -> None:
    room = inventory.domain_room(engine)
    assert sorted(room) == ["sd-1", "sd-3"]
    assert (room["sd-1"].available, room["sd-1"].total) == (100, 150)


def test_places_hosts_and_the_time(site: Script, engine: Engine) -> None:
    assert inventory.places(engine) == {
        "c-1": inventory.Place("Default", "North"),
        "c-2": inventory.Place("alone", ""),
    }
    assert [c.level for c in storage.list_clusters(engine)] == [(4, 7), (0, 0)]
    site.on(
        "GET",
        "/hosts",
        "<hosts><host id='h-1'><name>one</name><address>10.0.0.1</address><status>up</status></host></hosts>",
    )
    assert inventory.list_hosts(engine) == [inventory.HostFacts("h-1", "one", "10.0.0.1", "up")]
    assert inventory.engine_time(engine) == datetime(2026, 3, 1, 11, tzinfo=timezone.utc)


# -- checkpoints ------------------------------------------------------------------------------------------


def checkpoints(*states: tuple[str, str | None]) -> str:
    return (
        "<checkpoints>"
        + "".join(
            f"<checkpoint id='{id_}'><description>x</description>{f'<state>{state}</state>' if state else ''}"
            "<creation_date>2026-03-01T12:00:00.000Z</creation_date></checkpoint>"
            for id_, state in states
        )
        + "</checkpoints>"
    )


def test_checkpoints_with_their_state(script: Script, engine: Engine) -> None:
    path = f"{VM}/checkpoints"
    script.on("GET", path, checkpoints(("cp-1", None), ("cp-2", "invalid")))
    assert [(c.id, c.state) for c in list_checkpoints(engine, ID)] == [
        ("cp-1", "created"),
        ("cp-2", "invalid"),
    ]
    script.on("GET", path, GONE)
    assert list_checkpoints(engine, ID) == [], "the engine is too old to have any"
    script.on("GET", f"{path}/cp-1/disks", "<disks><disk id='d-1'/><disk id='d-2'/></disks>")
    assert checkpoint_disks(engine, ID, "cp-1") == ["d-1", "d-2"]


def test_a_checkpoint_is_gone_when_it_is_listed_no_more(script: Script, engine: Engine) -> None:
    path = f"{VM}/checkpoints"
    script.on("DELETE", f"{path}/cp-1", Answer())
    script.on("GET", path, checkpoints(("cp-1", "removing")), checkpoints(("cp-2", None)))
    remove_checkpoint(engine, ID, "cp-1")
    assert len(script.asked("GET", path)) == 2
    script.on("DELETE", f"{path}/cp-1", GONE)
    remove_checkpoint(engine, ID, "cp-1")
    script.on("DELETE", f"{path}/cp-1", Answer())
    script.on("GET", path, checkpoints(("cp-1", "created")))
    with pytest.raises(Timeout):
        remove_checkpoint(engine, ID, "cp-1")
