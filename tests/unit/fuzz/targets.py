"""Each place where foreign bytes become ours, as a function of bytes: it reads or refuses, and nothing else.

A target passes when it returns. Its seeds are documents that it reads, for a fuzzer to begin with.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from borg_ovirt.config.load import parse as parse_config
from borg_ovirt.errors import BorgOvirtError, ConfigError, NotOurArchive, TransferFailed
from borg_ovirt.ovirt.capture import backups, snapshot
from borg_ovirt.ovirt.data import answers, transfers
from borg_ovirt.ovirt.data.imageio_connection import Address
from borg_ovirt.ovirt.facts import chain, checkpoints, inventory, ovf, settings, storage, vm
from borg_ovirt.ovirt.make import machines
from borg_ovirt.ovirt.session import probes, sso
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.events import EventMark
from borg_ovirt.ovirt.session.health import Health
from borg_ovirt.ovirt.session.sense import Nonsense, check_kind, check_xml
from borg_ovirt.ovirt.session.waiting import Patience
from borg_ovirt.ovirt.session.web import Reply
from borg_ovirt.ovirt.tracked import tagged
from borg_ovirt.qcow2 import BadHeader, backing_patch, read_header
from borg_ovirt.repository.layout import parse_comment, parse_manifest
from borg_ovirt.terminal import shown

Target = Callable[[bytes], object]

ID = "aaaaaaaa-0000-4000-8000-000000000001"
BASE = "bbbbbbbb-0000-4000-8000-000000000001"
TOP = "bbbbbbbb-0000-4000-8000-000000000002"


def manifest(data: bytes) -> None:
    """What was read can be told as JSON and read again."""
    with contextlib.suppress(NotOurArchive):
        read = parse_manifest(data, "web01-1")
        assert parse_manifest(read.to_json(), "web01-1") == read


def comment(data: bytes) -> None:
    """Comments are text by the time we see them."""
    with contextlib.suppress(NotOurArchive):
        read = parse_comment(data.decode("utf-8", "surrogateescape"), "web01-1")
        assert read is None or parse_comment(read.to_text(), "web01-1") == read


def ovf_document(data: bytes) -> None:
    """What was read can be rewritten, and the result read."""
    with contextlib.suppress(NotOurArchive):
        facts = ovf.parse(data)
        written = ovf.rewrite(data, {facts.vm_id.lower(): TOP}, name="x", fresh=True, keep_disks=[ID])
        ovf.parse(written)


def extents(data: bytes) -> None:
    """Extents follow one another from byte 0 on, whatever the stream."""
    end = 0
    with contextlib.suppress(TransferFailed, answers.BrokeOff):
        for extent in answers.extents(io.BytesIO(data).read, "disk web01"):
            assert extent.start == end
            assert extent.length >= 0
            end = extent.end


def daemon(data: bytes) -> None:
    """The short answers of the daemon."""
    with contextlib.suppress(ValueError):
        reply = answers.parse(data)
        for read in (answers.features, answers.checksum):
            with contextlib.suppress(TransferFailed):
                read(reply, "disk web01")


def qcow2_header(data: bytes) -> None:
    """A header is read or refused; a new backing name has the place of the old one."""
    with contextlib.suppress(BadHeader):
        header = read_header(data)
        if header.backing is not None:
            patch = backing_patch(header, header.backing)
            assert data[patch.offset : patch.offset + len(patch.data)] == patch.data


def config(data: bytes) -> None:
    """The configuration's file."""
    with contextlib.suppress(ConfigError):
        parse_config(data.decode("utf-8", "replace"), "c.yaml")


def setting(data: bytes) -> None:
    """A key on the command line."""
    with contextlib.suppress(ConfigError):
        parse_config("", "c.yaml", [data.decode("utf-8", "replace")])


def address(data: bytes) -> None:
    """Addresses out of the engine's answers and of the configuration."""
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(TransferFailed):
        Address.of_url("direct", text)
    with contextlib.suppress(BorgOvirtError):
        assert EngineAccess(text, "u", "p").host


def words(data: bytes) -> None:
    """Whatever is shown steers no terminal."""
    text = shown(data.decode("utf-8", "surrogateescape"))
    assert "\x1b" not in text
    assert len(text.splitlines()) <= 1
    assert not {"\x9b", "\x7f", "\u202e", "\u2028"} & set(text)


class _Answering:
    """A connection of the SDK's whose engine says one thing wherever it fits, else what is right."""

    def __init__(self, body: bytes) -> None:
        self.last_status, self.last_page, self.endless = 200, b"", False
        self._body = body
        self.asked = ("", "")

    def system_service(self) -> Any:
        from ovirtsdk4.services import SystemService

        return SystemService(self, "")

    def send(self, request: Any) -> None:
        self.asked = (request.method, request.path)

    def wait(self, context: Any, failed_auth: bool = False) -> Any:
        from ovirtsdk4.http import Response

        body = self._body if _root_of(self._body) is None or self._fits(self._body) else self._right()
        return Response(body, 200, [], "OK")

    def _fits(self, body: bytes) -> bool:
        try:
            check_kind(_root_of(body) or "", *self.asked)
        except Nonsense:
            return False
        return True

    def _right(self) -> bytes:
        return next((body for body in _XML if self._fits(body)), self._body)

    def check_xml_content_type(self, response: Any) -> None:
        check_kind(check_xml(response.body), *self.asked)

    def close(self, logout: bool = True) -> None:
        return


def _root_of(body: bytes) -> str | None:
    try:
        return check_xml(body)
    except Nonsense:
        return None


class _Well(Health):
    """Nobody is asked: there is no engine."""

    def is_well(self) -> bool:
        return True

    def told(self) -> str:
        return ""


class Mocked(Engine):
    """An engine of one answer, and no patience."""

    def __init__(self, body: bytes) -> None:
        super().__init__(
            EngineAccess("engine.example", "u", "p"),
            patience=Patience(engine=0.0, ovf=0.0, unclear=0.0, first=0.0, most=0.0),
        )
        self._mocked = _Answering(body)
        self.health = _Well(self.access.api_url, None)

    def _connection(self) -> Any:
        return self._mocked


def engine_xml(data: bytes) -> None:
    """Every reader of the engine's answers, each given the same document."""
    engine = Mocked(data)
    disk = vm.DiskFacts(ID, "disk", 1 << 20, "cow", True, "image", image_id=BASE)
    facts = vm.VmFacts(ID, "vm", "up", ID, "Default", (4, 7), None, template_id=TOP)
    nic = ovf.OvfNic(ID, "nic1", "net", "00:00:00:00:00:01", "p")
    for read in (
        engine._greet,
        lambda: vm.find_vm(engine, ID),
        lambda: vm.look_up(engine, "web01"),
        lambda: vm.list_vms(engine),
        lambda: vm.vm_status(engine, ID),
        lambda: vm.read_disk(engine, ID),
        lambda: vm.read_disks(engine, ID),
        lambda: vm.read_snapshots(engine, ID),
        lambda: vm.fetch_ovf(engine, ID),
        lambda: chain.read_chain(engine, disk, facts),
        lambda: storage.list_domains(engine),
        lambda: storage.list_clusters(engine),
        lambda: storage.domain_names(engine),
        lambda: settings.read_settings(engine, facts),
        lambda: inventory.places(engine),
        lambda: inventory.list_hosts(engine),
        lambda: inventory.domain_room(engine),
        lambda: inventory.image_disks(engine),
        lambda: inventory.named_proxies(engine),
        lambda: inventory.engine_time(engine),
        lambda: checkpoints.list_checkpoints(engine, ID),
        lambda: checkpoints.checkpoint_disks(engine, ID, ID),
        lambda: EventMark(engine).texts({10}, ID),
        lambda: machines.attached_disks(engine, ID),
        lambda: machines.nic_warnings(engine, ID, [nic]),
        lambda: machines.vms_of_disk(engine, ID),
        lambda: backups.backup_phase(backups.read_backup(engine, ID, ID)),
        lambda: backups.find_backup(engine, ID, "x"),
        lambda: snapshot.read_snapshot(engine, ID, ID),
        lambda: snapshot.find_snapshot(engine, ID, "x"),
        lambda: snapshot.frozen_layers(engine, ID, ID),
        lambda: transfers.phase_of(transfers.read_transfer(engine, ID)),
        lambda: transfers.find_transfer(engine, ID, "download", 60),
        lambda: tagged.find_tagged(engine, []),
        lambda: list(probes.read_rights(engine)),
        lambda: probes.newest_event(engine),
    ):
        with contextlib.suppress(BorgOvirtError):
            read()  # type: ignore[no-untyped-call]


def login(data: bytes) -> None:
    """The reply of the login page."""
    ask, sso.ask = sso.ask, lambda *_, **__: Reply(200, data, {})
    try:
        with contextlib.suppress(BorgOvirtError):
            assert sso.log_in("https://engine.example/ovirt-engine/api", "u", "p", None, 1.0)
    finally:
        sso.ask = ask


def _manifests() -> list[bytes]:
    run = {
        "tool_version": "0.1.0",
        "host": "h",
        "engine": "e",
        "kind": "full",
        "way": "live backup",
        "consistency_asked": "auto",
        "consistency": "frozen",
        "started": "2026-01-01T00:00:00Z",
        "ended": "2026-01-01T01:00:00+01:00",
    }
    disk: dict[str, Any] = {"id": ID, "alias": "d", "size": 10, "format": "cow", "sparse": True}
    layers = [
        {"image_id": BASE, "snapshot_id": None, "parent": None, "format": "raw"},
        {"image_id": TOP, "snapshot_id": ID, "parent": BASE, "format": "cow", "date": "2026-01-01T00:00:00Z"},
    ]
    for layer in layers:
        layer |= {"capacity": 10, "size": 5, "path": f"disks/{ID}/{layer['image_id']}"}
    whole = {"tool": "borg-ovirt", "layout": 1, "vm": {"id": ID, "name": "vm", "tags": ["a"]}, "run": run}
    image = {**whole, "mode": "image", "disks": [{**disk, "path": f"disks/{ID}.raw"}]}
    chained = {**whole, "mode": "chain", "disks": [{**disk, "path": f"disks/{ID}", "layers": layers}]}
    return [json.dumps(image).encode(), json.dumps(chained).encode()]


def _qcow2(backing: bytes = b"", version: int = 3) -> bytes:
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, 512 if backing else 0, len(backing), 16, 1 << 30)
    return head.ljust(512, b"\0") + backing.ljust(512, b"\0")


_XML = [
    b"<api><product_info><instance_id>x</instance_id><version><major>4</major><minor>5</minor></version>"
    b"</product_info><time>2026-01-01T00:00:00Z</time></api>",
    f'<vm id="{ID}"><name>web01</name><status>up</status><cluster id="{ID}"/>'
    f"<bios><type>q35_ovmf</type></bios>"
    f"<custom_compatibility_version><major>4</major><minor>7</minor></custom_compatibility_version>"
    f'<template id="{ID}"/><start_time>2026-01-01T00:00:00.000+02:00</start_time><initialization>'
    f"<configuration>"
    f"<data>x</data></configuration></initialization></vm>".encode(),
    f'<vms><vm id="{ID}"><name>web01</name>'
    f'<tags><tag id="{ID}"><name>t</name></tag></tags></vm></vms>'.encode(),
    f'<disk id="{ID}"><alias>d</alias><provisioned_size>1048576</provisioned_size><format>cow</format>'
    f'<image_id>{BASE}</image_id><storage_domains><storage_domain id="{ID}"/>'
    f"</storage_domains></disk>".encode(),
    f'<disk_attachments><disk_attachment id="{ID}"><bootable>true</bootable><disk id="{ID}"/>'
    f"</disk_attachment></disk_attachments>".encode(),
    f'<disk_snapshots><disk_snapshot id="{TOP}"><disk id="{ID}"/><parent id="{BASE}"/><format>cow</format>'
    f'</disk_snapshot><disk_snapshot id="{BASE}"><disk id="{ID}"/></disk_snapshot></disk_snapshots>'.encode(),
    f'<snapshots><snapshot id="{ID}"><date>2026-01-01T00:00:00Z</date></snapshot></snapshots>'.encode(),
    f'<storage_domains><storage_domain id="{ID}"><type>data</type><available>5</available><used>1</used>'
    f"<storage><type>nfs</type></storage></storage_domain></storage_domains>".encode(),
    f'<data_centers><data_center id="{ID}"><name>d</name></data_center></data_centers>'.encode(),
    f'<checkpoints><checkpoint id="{ID}"><creation_date>2026-01-01T00:00:00Z</creation_date>'
    f"<parent_id>{TOP}</parent_id><state>created</state></checkpoint></checkpoints>".encode(),
    f'<cluster id="{ID}"><name>c</name><version><major>4</major><minor>7</minor></version>'
    f'<data_center id="{ID}"/></cluster>'.encode(),
    f'<clusters><cluster id="{ID}"><name>c</name><data_center id="{ID}"/></cluster></clusters>'.encode(),
    f'<disks><disk id="{ID}"><image_id>{BASE}</image_id><storage_type>image</storage_type></disk>'
    f"</disks>".encode(),
    f'<tags><tag id="{ID}"><name>t</name></tag></tags>'.encode(),
    b'<events><event id="12"><index>12</index><code>10</code><description>d</description></event></events>',
    f'<nics><nic id="{ID}"><name>nic1</name><plugged>true</plugged><mac><address>00:00:00:00:00:01</address>'
    f'</mac><vnic_profile id="{ID}"/></nic></nics>'.encode(),
    f'<vnic_profiles><vnic_profile id="{ID}"><name>p</name></vnic_profile></vnic_profiles>'.encode(),
    f'<hosts><host id="{ID}"><name>h</name><status>up</status></host></hosts>'.encode(),
    f'<backup id="{ID}"><phase>ready</phase><from_checkpoint_id>{TOP}</from_checkpoint_id></backup>'.encode(),
    f'<backups><backup id="{ID}"><description>x</description></backup></backups>'.encode(),
    f'<snapshot id="{ID}"><snapshot_status>ok</snapshot_status></snapshot>'.encode(),
    f'<image_transfer id="{ID}"><phase>transferring</phase><direction>download</direction>'
    f'<image id="{ID}"/><inactivity_timeout>60</inactivity_timeout></image_transfer>'.encode(),
    f'<image_transfers><image_transfer id="{ID}"><image id="{ID}"/></image_transfer>'
    f"</image_transfers>".encode(),
    b"<fault><reason>r</reason><detail>[d]</detail></fault>",
    b"<action><status>complete</status></action>",
]
_CONFIG = b"""engines:
  main: {url: "https://engine.example.org", username: backup@internal, password_file: /p}
repositories:
  local: {location: /srv/borg, chunk_size: 4MiB, lock_wait: 10m}
vms: {include: {tags: [backup, "x"]}}
policy: {full_every: 30d, sample: 0.1%, readers: 3}
retention: {daily: 7, gone_vms: 180d}
limits: {until: 06:00, min_free: 10%}
hooks: [{when: after-vm, command: [echo, x], timeout: 1m}]
x: &x [1]
y: *x
"""

TARGETS: dict[str, tuple[Target, list[bytes]]] = {
    "manifest": (manifest, _manifests()),
    "comment": (
        comment,
        [
            json.dumps(
                {"tool": "borg-ovirt", "layout": 1, "vm_id": ID, "vm_name": "x", "mode": "image"}
                | {"engine": "e", "kind": "full"}
            ).encode()
        ],
    ),
    "ovf": (ovf_document, [(Path(__file__).parents[1] / "ovirt/facts/sample.ovf").read_bytes()]),
    "extents": (
        extents,
        [
            b'[{"start": 0, "length": 65536, "zero": true, "hole": false}, '
            b'{"start": 65536, "length": 65536, "zero": false, "dirty": true}]\n'
        ],
    ),
    "daemon": (
        daemon,
        [
            b'{"features": ["extents", "zero"], "unix_socket": "@x", "max_readers": 8, "max_writers": 8}',
            b'{"checksum": "ab", "algorithm": "blake2b", "block_size": 4194304}',
        ],
    ),
    "qcow2": (qcow2_header, [_qcow2(), _qcow2(BASE.encode()), _qcow2(BASE.encode(), 2)]),
    "config": (config, [_CONFIG]),
    "setting": (setting, [b"policy.full_every=7d", b"vms.include.tags=[a, b]", b"engines.main={url: x}"]),
    "address": (address, [b"https://host.example:54322/images/" + ID.encode(), b"engine.example"]),
    "words": (words, ["web01 \x1b[2J é \u202e".encode()]),
    "engine_xml": (engine_xml, _XML),
    "login": (login, [b'{"access_token": "t", "exp": "1"}', b'[{"error_code": "x", "error": "y"}]']),
}
