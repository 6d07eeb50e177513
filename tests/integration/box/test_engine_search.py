"""The search language, paging, follow and all_content."""

from __future__ import annotations

import ovirtsdk4 as sdk
import pytest
from ovirtbox.box import MIB, Box, DiskSpec
from rest_client import Call


@pytest.fixture(scope="module", autouse=True)
def three_vms(box: Box) -> None:
    box.make_tag("all")
    box.make_tag("web", parent="all")
    box.make_vm("web01", [DiskSpec(64 * MIB, bootable=True)], running=False, tags=["web"])
    box.make_vm("web02", [DiskSpec(64 * MIB, domain="lun")], running=True, tags=["all"])
    box.make_vm("my vm", running=False, description="has a blank")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=web01", ["web01"]),
        ("name=WEB01", ["web01"]),
        ("name=web*", ["web01", "web02"]),
        ("name=web0", []),
        ("name=web* and status=up", ["web02"]),
        ("name=web01 or name=web02", ["web01", "web02"]),
        ("name!=web01 and status=down", ["my vm"]),
        ("web", ["web01", "web02"]),
        ("blank", ["my vm"]),
        ('name="my vm"', ["my vm"]),
        ("name=my vm", []),
        ("nonsense=1", []),
        ("name=web01 and", []),
        ("tag=web", ["web01"]),
        ("tag=all", ["web01", "web02"]),
        ("cluster=Default and name=web01", ["web01"]),
        ("storage.name=lun", ["web02"]),
        ("datacenter=Default sortby name desc", ["web02", "web01", "my vm"]),
        ("name=web* sortby name asc page 2", []),
        ("name=web* sortby name", ["web01", "web02"]),
        ("name=web* sortby name page 1", []),
        ("name=web* sortby name asc page 1", ["web01", "web02"]),
        ("name=web* page 1 sortby name asc", []),
        ("name=web01 status=down", ["web01"]),
        ("tag=WEB", []),
    ],
)
def test_vms_are_found(api: sdk.services.SystemService, query: str, names: list[str]) -> None:
    assert [vm.name for vm in api.vms_service().list(search=query)] == names


def test_case_matters_only_when_asked_for(api: sdk.services.SystemService) -> None:
    vms = api.vms_service()
    assert vms.list(search="name=WEB01", case_sensitive=True) == []
    assert len(vms.list(search="name=WEB01", case_sensitive=False)) == 1


def test_max_and_pages(api: sdk.services.SystemService, http: Call) -> None:
    vms = api.vms_service()
    assert len(vms.list(max=2)) == 2
    pages = [[vm.name for vm in vms.list(search=f"sortby name asc page {n}", max=2)] for n in (1, 2, 3)]
    assert pages == [["my vm", "web01"], ["web02"], []]
    assert len(http("GET", "/vms;max=1").root) == 1


def test_a_vm_is_found_by_its_id(api: sdk.services.SystemService, box: Box) -> None:
    assert api.vms_service().list(search=f"id={box.vm('web01').id}")[0].name == "web01"


def test_storage_domains_cannot_be_searched_by_id(api: sdk.services.SystemService, box: Box) -> None:
    domains = api.storage_domains_service()
    assert len(domains.list(search="name=data")) == 1
    assert domains.list(search=f"id={box.domain('data').id}") == []


def test_disks_are_found_by_vm(api: sdk.services.SystemService) -> None:
    assert len(api.disks_service().list(search="vm_names=web01")) == 1
    assert len(api.disks_service().list(search="alias=web0*_Disk1")) == 2


def test_follow_inlines_links(api: sdk.services.SystemService) -> None:
    (vm,) = api.vms_service().list(search="name=web01", follow="disk_attachments.disk,snapshots,tags,cluster")
    assert vm.disk_attachments[0].disk.provisioned_size == 64 * MIB
    assert vm.disk_attachments[0].disk.alias == "web01_Disk1"
    assert [snapshot.description for snapshot in vm.snapshots] == ["Active VM"]
    assert vm.tags[0].name == "web"
    assert vm.cluster.name == "Default"


def test_follow_works_on_one_entity(api: sdk.services.SystemService, box: Box) -> None:
    vm = api.vms_service().vm_service(box.vm("web01").id).get(follow="diskattachments,nics")
    assert len(vm.disk_attachments) == 1
    assert vm.nics[0].mac.address == box.vm("web01").nics[0].mac


def test_links_can_be_followed_by_hand(connection: sdk.Connection, api: sdk.services.SystemService) -> None:
    (vm,) = api.vms_service().list(search="name=web01")
    assert len(connection.follow_link(vm.disk_attachments)) == 1
    assert connection.follow_link(vm.cluster).name == "Default"


def test_the_ovf_comes_only_when_asked_for(api: sdk.services.SystemService) -> None:
    (plain,) = api.vms_service().list(search="name=web01")
    assert plain.initialization is None
    (full,) = api.vms_service().list(search="name=web01", all_content=True)
    assert "<Name>web01</Name>" in full.initialization.configuration.data
    assert full.initialization.configuration.type == sdk.types.ConfigurationType.OVF


def test_places(api: sdk.services.SystemService, box: Box) -> None:
    (center,) = api.data_centers_service().list()
    domains = api.data_centers_service().data_center_service(center.id).storage_domains_service().list()
    assert {(d.name, d.status, d.storage.type) for d in domains} == {
        ("data", sdk.types.StorageDomainStatus.ACTIVE, sdk.types.StorageType.NFS),
        ("lun", sdk.types.StorageDomainStatus.ACTIVE, sdk.types.StorageType.ISCSI),
    }
    assert all(d.available > 0 and d.used > 0 for d in domains)
    assert all(d.status is None for d in api.storage_domains_service().list())
    assert api.clusters_service().list(search="name=Default")[0].version.minor == 7
    assert api.hosts_service().list()[0].status == sdk.types.HostStatus.UP


def test_templates_are_found(api: sdk.services.SystemService) -> None:
    (blank,) = api.templates_service().list(search="name=Blank and datacenter=Default")
    assert blank.id == "00000000-0000-0000-0000-000000000000"
    assert (blank.version.version_number, blank.version.version_name) == (1, "base version")
    assert blank.version.base_template.id == blank.id


def test_unknown_ids_have_no_body(http: Call) -> None:
    unknown = "11111111-2222-4333-8444-555555555555"
    for place in ("vms", "disks", "clusters", "storagedomains", "hosts", "datacenters", "jobs", "tags"):
        answer = http("GET", f"/{place}/{unknown}")
        assert (answer.status, answer.body) == (404, b""), place
    assert http("GET", "/vms/not-an-id").status == 404
    assert len(http("GET", f"/vms/{unknown}/diskattachments").root) == 0
    assert len(http("GET", f"/disks/{unknown}/disksnapshots").root) == 0


def test_an_unknown_id_is_not_found_for_the_sdk(api: sdk.services.SystemService) -> None:
    with pytest.raises(sdk.NotFoundError) as caught:
        api.vms_service().vm_service("11111111-2222-4333-8444-555555555555").get()
    assert caught.value.fault is None
