"""A restore touches nothing while anything is in its way, wherever it goes; a dry run touches nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.pipe.fakes import Content

from borg_ovirt.errors import RepositoryDamaged, RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.restore import into_files
from borg_ovirt.jobs.restore import restore as module
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.restore import Destination, RestoreResult, restore
from borg_ovirt.jobs.restore.site import Domain, Site
from borg_ovirt.progress import Progress
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import (
    ArchiveComment,
    DiskRecord,
    LayerRecord,
    Manifest,
    RunRecord,
    VmRecord,
    chain_path,
    disk_path,
    layer_path,
)

OVF = (
    b'<e xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1/"'
    b' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Content><Section'
    b' ovf:id="11111111-2222-4333-8444-555555555555" xsi:type="ovf:OperatingSystemSection_Type"/>'
    b"</Content></e>"
)
WHEN = datetime(2026, 3, 2, tzinfo=timezone.utc)
BYTES = b"data" * 4096


def uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def disk(name: str) -> DiskRecord:
    return DiskRecord(
        id=uid(name),
        alias=name,
        size=len(BYTES),
        format="raw",
        sparse=True,
        image_id=uid(name + "image"),
        storage_domain_id=uid("data"),
        path=disk_path(uid(name)),
    )


def manifest(*disks: DiskRecord, mode: str = "image") -> Manifest:
    return Manifest(
        mode=mode,
        vm=VmRecord(id=uid("vm"), name="web01", cluster_id=uid("cluster"), cluster="Default"),
        disks=disks,
        run=RunRecord(
            tool_version="1",
            host="h",
            engine="e",
            kind="full",
            way="live backup",
            consistency_asked="auto",
            consistency="unknown",
            started=WHEN,
            ended=WHEN,
        ),
    )


class Reader:
    """An archive in memory; `lost` are paths of which chunks are lost."""

    def __init__(self, archived: Manifest, lost: tuple[str, ...] = ()) -> None:
        self.manifest = archived
        self.lost = lost
        self.ovf = OVF
        self.content: Callable[[str], Any] = lambda path: Content(BYTES, 4096)

    def disk(self, path: str) -> Any:
        content = self.content(path)
        content.damaged = path in self.lost
        return content

    def damaged(self, path: str) -> bool:
        return path in self.lost


class Repository:
    location = "/srv/repo"

    def __init__(self, reader: Reader, others: dict[str, bool] | None = None) -> None:
        self.reader = reader
        comment = ArchiveComment(vm_id=uid("vm"), vm_name="web01", mode="image", engine="e", kind="full")
        names = {**dict.fromkeys(others or {}, True), "web01-now": True}
        self.infos = [
            ArchiveInfo(name, name, WHEN + timedelta(hours=n), comment, timedelta(0), 1, 1)
            for n, name in enumerate(names)
        ]
        self.whole = {**(others or {}), "web01-now": True}

    def archives(self) -> list[ArchiveInfo]:
        return self.infos

    def all_names(self) -> set[str]:
        return {info.name for info in self.infos}

    def unreadable(self) -> set[str]:
        return set()

    def archive(self, name: str) -> Reader:
        return self.reader

    def series(self) -> Any:
        from borg_ovirt.repository.series import all_series

        return all_series(self.infos, WHEN + timedelta(days=1))

    def damage(self, name: str) -> str | None:
        return None if self.whole[name] else "it lost chunks"


SITE = Site(
    domains=(Domain(uid("data"), "data", False, 1 << 40, "active", None),),
    clusters={uid("cluster"): ("Default", None)},
)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be done in the engine: the plans that were carried out."""
    done: list[Any] = []

    class Doing:
        def __init__(self, *arguments: Any, **_: Any) -> None:
            self.plan = arguments[4]

        def run(self, reader: object, warnings: list[str]) -> list[Any]:
            done.append(self.plan)
            return []

    monkeypatch.setattr(module, "survey", lambda *_: SITE)
    monkeypatch.setattr(module, "prove_rights", lambda *_: None)
    monkeypatch.setattr(module, "IntoOvirt", Doing)
    return done


def go(
    reader: Any,
    destination: object,
    others: dict[str, bool] | None = None,
    *,
    dry_run: bool = False,
    **options: Any,
) -> RestoreResult:
    repository: Any = Repository(reader, others)
    into: Any = None if destination is None else Destination(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    return restore(repository, "web01", RestoreOptions(**options), into, Progress(), dry_run=dry_run)


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


ROOT, DATA = disk("root"), disk("data")


def test_into_files_and_into_ovirt(engine: list[Any], tmp_path: Path) -> None:
    directory = tmp_path / "new" / "place"
    result = go(Reader(manifest(ROOT, DATA)), None, directory=directory)
    assert tree(directory) == sorted(
        [f"{ROOT.id}.raw", f"{DATA.id}.raw", "README.txt", "manifest.json", "vm.ovf"]
    )
    assert (directory / f"{ROOT.id}.raw").read_bytes() == BYTES
    assert len(result.files) == 5
    go(Reader(manifest(ROOT, DATA)), engine)
    assert [d.alias for d in engine[0].disks] == ["root", "data"]


@pytest.mark.parametrize("into", ["files", "oVirt"])
@pytest.mark.parametrize("lost", [disk_path(ROOT.id), "vm.ovf"])
def test_damage_is_in_the_way_of_every_destination(
    engine: list[Any], tmp_path: Path, into: str, lost: str
) -> None:
    reader = Reader(manifest(ROOT, DATA), (lost,))
    options: dict[str, Any] = {"directory": tmp_path / "out"} if into == "files" else {}
    where = None if into == "files" else engine
    with pytest.raises(RestoreBlocked, match="damaged") as caught:
        go(reader, where, {"web01-old": True, "web01-torn": False}, **options)
    assert "whole is web01-old" in str(caught.value.hint)
    assert engine == []
    assert tree(tmp_path) == []
    dry = go(reader, where, dry_run=True, **options)
    assert any(line.startswith("BLOCKED:") for line in dry.lines())
    assert "No other archive" in dry.lines()[-1]


def test_what_is_whole_of_a_damaged_archive_can_be_had(engine: list[Any], tmp_path: Path) -> None:
    reader = Reader(manifest(ROOT, DATA), (disk_path(ROOT.id),))
    go(reader, None, directory=tmp_path / "out", disks=("data",))
    assert f"{DATA.id}.raw" in tree(tmp_path / "out")
    go(reader, engine, disks=("data",))
    assert len(engine) == 1


@pytest.mark.parametrize("into", ["files", "oVirt"])
def test_any_blocker_blocks(engine: list[Any], tmp_path: Path, into: str) -> None:
    options: dict[str, Any] = {"directory": tmp_path / "out"} if into == "files" else {}
    with pytest.raises(RestoreBlocked, match="no disk swap"):
        go(Reader(manifest(ROOT)), None if into == "files" else engine, disks=("swap",), **options)
    assert engine == []
    assert tree(tmp_path) == []


@pytest.mark.parametrize("into", ["files", "oVirt"])
def test_a_dry_run_touches_nothing(engine: list[Any], tmp_path: Path, into: str) -> None:
    options: dict[str, Any] = {"directory": tmp_path / "out"} if into == "files" else {}
    result = go(Reader(manifest(ROOT)), None if into == "files" else engine, dry_run=True, **options)
    assert result.dry_run
    assert engine == []
    assert tree(tmp_path) == []


def test_an_archive_whose_manifest_is_lost_names_one_that_is_whole(engine: list[Any]) -> None:
    class Torn(Reader):
        @property
        def manifest(self) -> Manifest:
            raise RepositoryDamaged("The repository lost manifest.json.")

        @manifest.setter
        def manifest(self, value: Manifest) -> None: ...

    with pytest.raises(RestoreBlocked, match=r"lost manifest\.json") as caught:
        go(Torn(manifest(ROOT)), engine, {"web01-old": True})
    assert "web01-old" in str(caught.value.hint)
    with pytest.raises(RepositoryDamaged):
        go(Torn(manifest(ROOT)), engine)


# -- files -----------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "vm.ovf").write_text("precious")
    with pytest.raises(RestoreBlocked, match=r"already holds vm\.ovf"):
        go(Reader(manifest(ROOT)), None, directory=tmp_path)
    assert tree(tmp_path) == ["vm.ovf"]
    assert (tmp_path / "vm.ovf").read_text() == "precious"


@pytest.mark.parametrize("existed", [True, False])
def test_a_restore_that_fails_leaves_nothing_in_the_way_of_the_next(tmp_path: Path, existed: bool) -> None:
    directory = tmp_path / "a" / "b"
    if existed:
        directory.mkdir(parents=True)
        (directory / "mine").write_text("x")
    before = tree(tmp_path)
    reader = Reader(manifest(ROOT, DATA))

    def content(path: str) -> Any:
        made = Content(BYTES, 4096)
        if path == disk_path(DATA.id) and failing:
            made.hook = lambda what: (_ for _ in ()).throw(RestoreFailed("It broke."))  # type: ignore[assignment]
        return made

    reader.content = content
    failing = True
    with pytest.raises(RestoreFailed, match="It broke"):
        go(reader, None, directory=directory)
    assert tree(tmp_path) == before
    failing = False
    go(reader, None, directory=directory)
    assert (directory / f"{DATA.id}.raw").read_bytes() == BYTES


def test_names_are_given_when_all_is_whole_and_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    synced: list[Path] = []
    rename, sync = os.rename, into_files.sync

    def renaming(source: str, target: str) -> None:
        seen.append([name for name in tree(tmp_path) if not name.startswith(".borg-ovirt-")])
        rename(source, target)

    def syncing(path: Path) -> None:
        synced.append(path)
        sync(path)

    monkeypatch.setattr(os, "rename", renaming)
    monkeypatch.setattr(into_files, "sync", syncing)
    go(Reader(manifest(ROOT, DATA)), None, directory=tmp_path)
    assert seen[0] == [], "nothing has its name before the last byte is there"
    assert synced == [tmp_path]
    assert [path.stat().st_mode & 0o077 for path in tmp_path.glob("*.raw")] == [0, 0]


def test_a_file_that_came_to_be_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(manifest(ROOT))

    def content(path: str) -> Any:
        (tmp_path / f"{ROOT.id}.raw").write_text("somebody's")
        return Content(BYTES, 4096)

    monkeypatch.setattr(module, "examine", lambda *_: into_files.Health())
    reader.content = content
    with pytest.raises(RestoreFailed, match="came to be meanwhile"):
        go(reader, None, directory=tmp_path)
    assert tree(tmp_path) == [f"{ROOT.id}.raw"]
    assert (tmp_path / f"{ROOT.id}.raw").read_text() == "somebody's"


# -- layers whose headers say something else ---------------------------------------------------------------


def qcow2(backing: str | None, size: int) -> bytes:
    name = (backing or "").encode()
    head = bytearray(65536)
    head[:4] = b"QFI\xfb"
    head[4:8] = (3).to_bytes(4, "big")
    if name:
        head[8:16] = (512).to_bytes(8, "big")
        head[16:20] = len(name).to_bytes(4, "big")
        head[512 : 512 + len(name)] = name
    head[20:24] = (16).to_bytes(4, "big")
    head[24:32] = size.to_bytes(8, "big")
    head[100:104] = (104).to_bytes(4, "big")
    return bytes(head)


@pytest.mark.parametrize(
    ("backing", "size", "words"),
    [
        (uid("base"), 1 << 20, None),
        ("/etc/shadow", 1 << 20, "names parent /etc/shadow"),
        (None, 1 << 20, "names parent None"),
        (uid("base"), 1 << 21, "for a disk of 2097152 bytes"),
    ],
)
@pytest.mark.parametrize("into", ["files", "oVirt"])
def test_a_layer_that_names_another_file_is_never_restored(
    engine: list[Any], tmp_path: Path, backing: str | None, size: int, words: str | None, into: str
) -> None:
    """Whoever opens it would open that file."""
    heads = {uid("base"): qcow2(None, 1 << 20), uid("top"): qcow2(backing, size)}
    below, layers = None, []
    for image in heads:
        layers.append(
            LayerRecord(
                image_id=image,
                snapshot_id=uid("snapshot"),
                parent=below,
                format="cow",
                capacity=1 << 20,
                size=65536,
                path=layer_path(ROOT.id, image),
            )
        )
        below = image
    record = ROOT.model_copy(update={"path": chain_path(ROOT.id), "layers": tuple(layers), "size": 1 << 20})
    reader = Reader(manifest(record, mode="chain"))
    reader.content = lambda path: Content(heads[path.rsplit("/", 1)[1]], 65536)
    options: dict[str, Any] = {"directory": tmp_path / "out"} if into == "files" else {}
    dry = into == "oVirt"
    where = None if into == "files" else engine
    if words is None:
        result = go(reader, where, dry_run=dry, **options)
        assert not any("not sound" in line for line in result.lines())
    elif into == "files":
        with pytest.raises(RestoreBlocked, match=words):
            go(reader, where, **options)
        assert tree(tmp_path) == []
    else:
        result = go(reader, where, dry_run=True)
        assert any(words in blocker for blocker in result.plan.blockers)
