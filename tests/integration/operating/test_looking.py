"""doctor finds what is wrong and says what to do; cleanup removes what is ours, and only that."""

from __future__ import annotations

import re
from typing import Any

import pytest
from connect_proxy import connect_proxy
from harness import Desk
from operating import SMALL, configure
from ovirtbox import snapshots
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return box.make_vm("web01", [DiskSpec(SMALL)], running=False)


def ports(box: Box) -> list[str]:
    data = box.engine.data
    return [f"--host-port={data.host.port}", f"--proxy-port={data.proxy.port}"]


def findings(desk: Desk, *words: str, code: int, **env: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in desk.run("doctor", "--json", *words, **env).ok(code).json["findings"]:
        found.setdefault(line["about"], []).append(line)
    return found


def states(lines: list[dict[str, Any]]) -> set[str]:
    return {line["status"] for line in lines}


def test_a_good_set_up_is_told_line_by_line(box: Box, vm: Vm, desk: Desk) -> None:
    key = desk.root / "key"
    desk.borg("key", "export", desk.repo, str(key))
    local = {"location": desk.repo, "key_backup": str(key)}
    configure(desk, repositories={"local": local}, policy={"max_age": "26h"})
    desk.borg("config", desk.repo, "append_only", "1")
    desk.create(vm)
    found = findings(desk, *ports(box), "--probe-write", code=0)
    assert set(found) == {
        "versions",
        "state directory",
        "secrets",
        "certificate",
        "login",
        "engine",
        "cluster",
        "clock",
        "rights",
        "host",
        "proxy",
        "change tracking",
        "storage domain",
        "leftovers",
        "write",
        "repository local",
    }
    assert "append-only" in " ".join(line["text"] for line in found["repository local"])
    assert "a copy of its key was made on" in " ".join(line["text"] for line in found["repository local"])
    last = desk.run("doctor", *ports(box)).ok().out.splitlines()[-1]
    assert re.fullmatch(r"\d+ ok, 0 warnings, 0 failures", last)
    assert not any("borg-ovirt-probe" in disk.alias for disk in box.world.disks.values())
    desk.assert_clean()


def test_each_trouble_is_a_finding_with_a_next_step(box: Box, vm: Vm, desk: Desk) -> None:
    box.make_cluster("Ancient", (4, 2))
    box.make_vm("untracked", [DiskSpec(SMALL, backup="none", alias="untracked_disk")], running=False)
    plain = str(desk.root / "plain")
    desk.borg("init", "-e", "none", plain)
    limits = {"min_free": "3TiB"}
    local = {"location": desk.repo}
    configure(desk, limits=limits, repositories={"local": local, "plain": {"location": plain}})
    box.shift(hours=1)
    try:
        found = findings(desk, "--host-port=9", f"--proxy-port={box.engine.data.proxy.port}", code=2)
    finally:
        box.shift(hours=-1)
    assert states(found["storage domain"]) == {"failure"}
    assert states(found["clock"]) == {"warning"}
    assert states(found["host"]) == {"warning"}  # the proxy answers
    assert "proxy" in found["host"][0]["todo"]
    (tracking,) = found["change tracking"]
    assert "untracked_disk" in tracking["text"]
    assert "Enable Incremental Backup" in tracking["todo"]
    assert any("4.2" in line["text"] and line["status"] == "warning" for line in found["cluster"])
    texts = " ".join(line["text"] for line in found["repository plain"])
    assert "not encrypted" in texts
    assert "this machine can destroy the history" in texts
    assert all(line["todo"] for lines in found.values() for line in lines if line["status"] != "ok")
    found = findings(desk, "--host-port=9", "--proxy-port=9", code=2)
    assert states(found["host"]) == {"failure"}


def test_a_wrong_login_and_a_lost_repository_are_failures_of_their_own(desk: Desk) -> None:
    configure(desk, repositories={"lost": {"location": str(desk.root / "lost")}})
    found = findings(desk, "--username", "nobody@internal", code=2)
    assert states(found["login"]) == {"failure"}
    assert states(found["certificate"]) == {"ok"}
    assert states(found["repository lost"]) == {"failure"}


def test_without_the_ca_the_certificate_is_a_failure_and_the_ca_can_be_pinned(box: Box, desk: Desk) -> None:
    configure(desk)
    pinned = desk.root / "ca.pem"
    found = findings(desk, code=2, BORG_OVIRT_CA_FILE="")
    assert states(found["certificate"]) == {"failure"}
    assert "--fetch-ca" in found["certificate"][0]["todo"]
    shown = desk.run("doctor", "--fetch-ca", str(pinned), BORG_OVIRT_CA_FILE="").ok(1)
    fingerprint = shown.out.split("fingerprint ")[1].split()[0]
    assert not pinned.exists()
    wrong = "AB" * 32
    refused = desk.run("doctor", "--fetch-ca", str(pinned), "--fingerprint", wrong, BORG_OVIRT_CA_FILE="")
    assert refused.code == 11
    assert not pinned.exists()
    desk.run("doctor", "--fetch-ca", str(pinned), "--fingerprint", fingerprint, BORG_OVIRT_CA_FILE="").ok()
    found = findings(desk, *ports(box), code=1, BORG_OVIRT_CA_FILE=str(pinned))
    assert states(found["certificate"]) == {"ok"}


def test_a_web_proxy_is_shown_and_named_where_it_fails(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk)
    with connect_proxy() as proxy:
        through = {"https_proxy": proxy.url, "no_proxy": ""}
        found = findings(desk, *ports(box), code=1, **through)
        assert f"{proxy.url} (https_proxy)" in found["web proxy"][0]["text"]
        assert states(found["certificate"] + found["login"] + found["host"]) == {"ok"}
        assert set(proxy.tunnels) == {box.url.split("/")[2]}  # no host and no port of imageio
    found = findings(desk, *ports(box), code=2, **through)
    for about in ("certificate", "login"):
        assert f"through the proxy {proxy.url} (https_proxy): Connection refused" in found[about][0]["text"]
        assert "no_proxy" in found[about][0]["todo"]


def test_cleanup_lists_the_tagged_and_removes_them_only_when_asked(box: Box, vm: Vm, desk: Desk) -> None:
    assert "Nothing of ours" in desk.run("cleanup").ok().out
    ours = box.snapshot(vm, "borg-ovirt temporary snapshot [0123456789ab.3]")
    theirs = box.snapshot(vm, "borg-ovirt was here")
    listed = desk.run("cleanup", "--json").ok().json
    assert [(line["id"], line["journalled"]) for line in listed["found"]] == [(ours.id, False)]
    assert "no journal here knows it" in listed["others"][0]
    young = desk.run("cleanup", "--tagged", "--json").ok().json
    assert "too young" in young["others"][0]
    dry = desk.run("cleanup", "--tagged", "--older-than", "0s", "--dry-run").ok().out
    assert ours.id in dry
    removed = desk.run("cleanup", "--tagged", "--older-than", "0s", "--json").ok().json["removed"]
    assert len(removed) == 1
    assert [s.id for s in vm.snapshots if s.type == "regular"] == [theirs.id]
    snapshots.remove(box.engine, vm, theirs)


def test_what_the_engine_left_of_backups_is_told(box: Box, vm: Vm, desk: Desk) -> None:
    """A host that crashed leaves scratch disks; a merge that failed, the snapshot of a hybrid backup."""
    scratch = box.add_disk(None, DiskSpec(SMALL, alias=f"VM web01 backup {vm.id} scratch disk for root"))
    scratch.content_type = "backup_scratch"
    left = box.snapshot(vm, "Auto-generated for Backup VM")
    told = desk.run("cleanup").ok().out
    assert f"Not touched: snapshot {left.id} of VM web01" in told
    assert f"Not touched: scratch disk {scratch.id} of VM web01" in told
    assert "0 removed" in desk.run("cleanup", "--tagged", "--older-than", "0s").ok().out
    (found,) = findings(desk, *ports(box), code=1)["leftovers"]
    assert found["status"] == "warning"
    assert left.id in found["text"]
    assert scratch.id in found["text"]
    box.delete_disk(scratch)
    snapshots.remove(box.engine, vm, left)
