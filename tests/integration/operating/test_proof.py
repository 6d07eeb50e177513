"""verify: each level finds what it is for; what it found is told everywhere, and heeded by the next night."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from harness import BIN, Desk, Run
from operating import SMALL, configure
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.jobs.proof import data
from borg_ovirt.jobs.proof.due import Wish, due
from borg_ovirt.jobs.proof.verify import VerifyOptions, VerifyResult, verify
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import open_repository


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ext4") / "image"
    path.write_bytes(bytes(4 * MIB))
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-O", "metadata_csum", str(path)], check=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def vm(box: Box, ext4: bytes) -> Vm:
    made = box.make_vm("web01", [DiskSpec(SMALL, content=[(0, ext4)])], running=False)
    box.fill(box.disks(made)[0], 6 * MIB, MIB, seed=1)
    return made


def chunks_of(desk: Desk, archive: str) -> list[str]:
    """Ids of the chunks of its one disk, as stock borg tells them."""
    dump = desk.root / "dump"
    dump.unlink(missing_ok=True)
    desk.borg("debug", "dump-archive", f"{desk.repo}::{archive}", str(dump))
    (disk,) = (item for item in json.loads(dump.read_text())["_items"] if item["path"].startswith("disks/"))
    return [chunk[0].strip("\x7f") for chunk in disk["chunks"]]


def rot(desk: Desk, chunk: str) -> None:
    """Turn over one bit of a chunk where it lies on the disk of the repository."""
    script = (
        "import sys; import borg.logger; borg.logger.configured = True\n"
        "from borg.repository import Repository\n"
        "with Repository(sys.argv[1], exclusive=True) as r:\n"
        "    r.get(bytes.fromhex(sys.argv[2]))\n"
        "    segment, offset = r.index[bytes.fromhex(sys.argv[2])][:2]\n"
        "    print(r.io.segment_filename(segment), offset)\n"
    )
    words = [str(BIN / "python"), "-c", script, desk.repo, chunk]
    told = subprocess.run(words, env=desk.env, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    path, place = told.stdout.split()
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(int(place) + 60)
        byte = file.read(1)
        file.seek(int(place) + 60)
        file.write(bytes([byte[0] ^ 1]))


def verdicts(run: Run) -> dict[str, str]:
    return {line["archive"]: line["verdict"] for line in told(run)}


def told(run: Run) -> list[dict[str, Any]]:
    (one,) = run.json["repositories"].values()
    return list(one["lines"])


def test_every_level_passes_on_a_good_archive_and_is_shown(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk)
    archive = desk.create(vm)["archive"]
    before = desk.run("info", f"local::{archive}").ok().out
    assert "Proof:        none yet" in before
    for level in ("structure", "data", "content", "restore"):
        run = desk.run("verify", "--json", "--level", level, "local").ok()
        assert verdicts(run) == {archive: "passed"}, level
    assert "web01_Disk1 (ext4)" in told(run)[0]["note"]
    assert "restored web01_Disk1 by the daemon's checksum" in told(run)[0]["note"]
    desk.assert_clean()  # the scratch disk is gone
    shown = desk.run("info", f"local::{archive}").ok().out
    assert "restored web01_Disk1" in shown
    assert "restore 20" in desk.run("list", "local").ok().out
    (line,) = desk.run("list", "--json", "local").ok().json["archives"]
    assert (line["proof"]["level"], line["failed_proof"]) == ("restore", None)
    assert line["proof"]["version"]
    desk.borg("check", "--verify-data", desk.repo)
    assert desk.archived_sha(archive, box.disks(vm)[0]) == box.sha(box.disks(vm)[0])


def test_a_rotten_chunk_spoils_every_archive_that_holds_it_and_no_backup_builds_on_one(
    box: Box, vm: Vm, desk: Desk
) -> None:
    configure(desk, retention={"last": 1})
    first = desk.create(vm)["archive"]
    other = box.make_vm("other01", [DiskSpec(SMALL)], running=False)
    box.fill(box.disks(other)[0], 0, MIB, seed=9)
    sound = desk.create(other)["archive"]
    box.write(box.disks(vm)[0], 7 * MIB, b"second night")
    second = desk.create(vm)["archive"]
    shared = next(c for c in chunks_of(desk, second) if c in chunks_of(desk, first))
    rot(desk, shared)
    assert verdicts(desk.run("verify", "--level", "structure", "--json", "local").ok()) == dict.fromkeys(
        (first, second, sound), "passed"
    )  # nothing is missing: it takes a reading to find it
    run = desk.run("verify", "--level", "data", "--json", f"local::{second}").ok(37)
    assert verdicts(run) == {second: "failed", first: "failed"}
    assert "cannot be read" in told(run)[0]["note"]
    assert f"{second} failed its proof (data)" in run.err
    lines = {line["archive"]: line for line in desk.run("list", "--json", "local").ok().json["archives"]}
    assert "failed its proof" in lines[second]["damage"]
    assert lines[sound]["damage"] is None
    assert "FAILED data" in desk.run("info", f"local::{second}").ok(1).out
    (web,) = [line for line in desk.run("vms", "--json").ok(1).json["vms"] if line["vm"] == "web01"]
    assert (web["verdict"], web["archive"]) == ("damaged", None)
    assert set(web["failed_proofs"]) == {first, second}
    desk.run("prune").ok(1)
    assert {first, second, sound} == set(desk.archives())  # neither counts as the newest good one
    third = desk.create(vm)
    assert third["kind"] == "full"
    assert "failed its proof" in third["reason"]
    # What was rotten is stored anew, and whole again in every archive that refers to it.
    run = desk.run("verify", "--level", "data", "--json", "local").ok()
    assert set(verdicts(run).values()) == {"passed"}
    assert set(verdicts(run)) == {first, second, third["archive"], sound}
    assert desk.archived_sha(second, box.disks(vm)[0]) == box.sha(box.disks(vm)[0])
    assert desk.create(vm)["kind"] == "incremental"


def test_a_budget_ends_the_reading_and_the_next_run_goes_on(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk, verify={"per_run": 1})
    archive = desk.create(vm)["archive"]
    run = desk.run("verify", "--level", "data", "--budget", "0s", "--json", "local").ok()
    assert told(run) == []
    assert run.json["repositories"]["local"]["left"] == 1
    again = desk.run("verify", "--level", "data", "--dry-run", "--json", "local").ok()
    assert verdicts(again) == {archive: "due"}
    assert desk.run("verify", "local").code == 2  # nothing says what to prove
    policy = {"verify": {"level": "data", "every": "7d"}, "max_proof_age": "30d", "max_age": "26h"}
    configure(desk, policy=policy)
    (line,) = [line for line in desk.run("vms", "--json").ok(1).json["vms"] if line["vm"] == "web01"]
    assert (line["verdict"], line["proof"]) == ("unproven", None)
    assert verdicts(desk.run("verify", "--json").ok()) == {archive: "passed"}
    assert verdicts(desk.run("verify", "--json").ok()) == {}  # not due again
    line = next(x for x in desk.run("vms", "--json").json["vms"] if x["vm"] == "web01")
    assert (line["verdict"], line["proof"]["level"]) == ("ok", "data")


def test_time_that_runs_out_within_an_archive_is_told_and_the_next_run_goes_on_there(
    box: Box, vm: Vm, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(desk)
    newest = [desk.create(vm)["archive"], desk.create(vm)["archive"]][1]
    for name, value in desk.env.items():
        if name.startswith("BORG_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(data, "_WINDOW", 1)
    end = datetime.now(timezone.utc)
    looks = iter(range(100))

    def in_time() -> datetime:
        """It is time still at the first look at the clock, and at the second."""
        return end - timedelta(seconds=1) if next(looks) < 2 else end

    def run(most: int | None, until: datetime | None) -> VerifyResult:
        now = datetime.now(timezone.utc)
        with open_repository(desk.repo, write=True) as opened:
            found = due(opened.series(now), lambda _: Wish("data", timedelta(days=1)), now)
            return verify(opened, found, VerifyOptions(until=until, most=most, now=in_time), None, Progress())

    first = run(None, end)
    assert [(line.archive, line.verdict, line.note) for line in first.lines] == [
        (newest, "under way", "1 chunks read")
    ]
    assert first.left == 1  # `until`: nothing is begun after it
    assert first.bytes_read == 4 * MIB
    assert "none yet" in desk.run("info", f"local::{newest}").ok().out
    second = run(1, None)
    assert [(line.archive, line.verdict) for line in second.lines] == [(newest, "passed")]
    assert (second.left, second.bytes_read) == (1, 4 * MIB)  # the other half; one archive a run
    third = run(1, None)
    assert [line.verdict for line in third.lines] == ["passed"]
    assert (third.left, third.bytes_read) == (0, 8 * MIB)


def test_a_run_ends_with_its_proofs_and_what_fails_is_nobodys_newest(box: Box, vm: Vm, desk: Desk) -> None:
    policy = {"verify": {"level": "data", "every": "0s"}, "max_age": "26h"}
    only = {"include": {"names": ["web01"]}}
    configure(desk, vms=only, policy=policy, verify={"after_create": True}, retention={"last": 1})
    first = desk.run("create", "--json").ok().vm["archive"]
    assert desk.run("list", "--json", "local").ok().json["archives"][0]["proof"]["level"] == "data"
    assert "has an archive young enough" in desk.run("doctor").out
    desk.run("vms", "--max-proof-age", "1d").ok()
    (line,) = selected(desk.run("vms", "--json", "--max-proof-age", "0s").ok(1))
    assert line["verdict"] == "unproven"
    aged = desk.run("doctor", "--set", "policy.max_age=0s").out
    assert "have no archive younger than their max_age: web01" in aged
    assert "nothing says how old" in desk.run("doctor", "--set", "policy.max_age=null").out
    box.fill(box.disks(vm)[0], 7 * MIB, MIB, seed=77)
    second = desk.run("create", "--json").ok().vm["archive"]
    (own,) = set(chunks_of(desk, second)) - set(chunks_of(desk, first))
    rot(desk, own)
    run = desk.run("create", "--json").ok(37)
    third = run.vm["archive"]  # the run is told all the same
    assert "2 archives failed their proof" in run.err
    (row,) = desk.run("create", "--dry-run", "--json").ok().json
    assert row["last"] == first
    out = str(desk.root / "out")
    for words in (["extract", "--to", out], ["serve"], ["rollback"]):
        refused = desk.run(words[0], "local::web01", *words[1:]).ok(40)
        assert "it failed its proof of" in refused.err, words
        assert words[0] != "extract" or f"whole is {first}" in refused.err
    desk.run("extract", f"local::{third}", "--dry-run", "--to", out).ok()  # as its own name asks
    desk.run("extract", f"local::{first}", "--to", out).ok()
    doctor = desk.run("doctor").out
    assert f"{third} (and 1 others) cannot be relied on: it failed its proof of" in doctor
    (line,) = selected(desk.run("vms", "--json", "--no-check").ok())
    assert line["archive"] == first
    desk.run("prune").ok(1)
    assert {first, second, third} == set(desk.archives())


def selected(run: Run) -> list[dict[str, Any]]:
    """Of the VMs those that the configuration backs up."""
    return [line for line in run.json["vms"] if line["selected"]]


def test_a_guests_broken_superblock_fails_the_content_alone(box: Box, desk: Desk, ext4: bytes) -> None:
    configure(desk)
    broken = bytearray(ext4)
    broken[1024 + 120] ^= 1
    vm = box.make_vm("broken01", [DiskSpec(SMALL, content=[(0, bytes(broken))])], running=False)
    archive = desk.create(vm)["archive"]
    desk.run("verify", "--level", "data", f"local::{archive}").ok()
    run = desk.run("verify", "--level", "content", f"local::{archive}").ok(37)
    assert "the checksum of its superblock is wrong" in run.out
    assert "FAILED" in run.out


def test_chains_are_checked_by_qemu_img_and_looked_into(box: Box, desk: Desk, ext4: bytes) -> None:
    configure(desk, policy={"mode": "chain"})
    vm = box.make_vm("chain01", [DiskSpec(SMALL, content=[(0, ext4)])], running=False)
    box.snapshot(vm, "before")
    box.fill(box.disks(vm)[0], 6 * MIB, MIB, seed=3)
    desk.create(vm)
    run = desk.run("verify", "--level", "content", "--json", "local::chain01").ok()
    assert told(run)[0]["note"] == "chain01_Disk1 (ext4)"
    missing = desk.run("verify", "--level", "content", "local::chain01", PATH="/nowhere").ok(1)
    assert "qemu-img" in missing.err
    assert "not proven" in missing.out


def test_an_engine_without_room_is_no_proof_in_either_direction(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk)
    archive = desk.create(vm)["archive"]
    run = desk.run("verify", "--level", "restore", "--storage-domain", "nowhere", "local").ok(1)
    assert f"{archive} could not be proven" in run.err
    assert "none yet" in desk.run("info", f"local::{archive}").ok().out
    desk.assert_clean()


def test_borg_checks_its_files_for_a_while_and_the_result_is_kept(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk)
    archive = desk.create(vm)["archive"]
    words = ("verify", "--level", "structure", "--check-repository", "20s", "--json", "local")
    run = desk.run(*words).ok()
    assert run.json["repositories"]["local"]["check"]["sound"] is True
    (kept,) = Path(desk.root / "state" / "checks").iterdir()
    assert json.loads(kept.read_text())["sound"] is True
    assert "Borg checked its files on" in desk.run("doctor").out
    rot(desk, chunks_of(desk, archive)[0])
    run = desk.run(*words).ok(37)
    assert run.json["repositories"]["local"]["check"]["sound"] is False
    assert json.loads(kept.read_text())["sound"] is False
    assert "failure  repository local: Borg found its files faulty on" in desk.run("doctor").ok(2).out
