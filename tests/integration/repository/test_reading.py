"""Our readers: archives of ours, of others, damaged and tampered ones; and what is changed after the fact."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from borg.repository import Repository as LocalRepository
from contents import check_content
from stock_borg import (
    CELL,
    DATA,
    NOON,
    OVF_BYTES,
    SYSTEM,
    MakeRepository,
    Stock,
    back_up,
    comment,
    image,
    manifest,
    store_disk,
)

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import ArchiveNotFound, NotOurArchive, RepositoryDamaged, RepositoryError
from borg_ovirt.repository.layout import OVF, ArchiveComment, Manifest, disk_path
from borg_ovirt.repository.open import Repository, open_repository
from borg_ovirt.repository.writer import ArchiveWriter

DISK = image(11, 150, tail=4321, zeros=0.6)
TWO = {SYSTEM: DISK, DATA: bytes(3 * CELL)}


def told(of: ArchiveComment) -> ArchiveComment:
    """Without what the archive came to, which hangs on the repository."""
    assert of.figures is not None
    return of.model_copy(update={"figures": None})


def test_everything_comes_back(stock: Stock) -> None:
    with open_repository(stock.location, write=True) as repository:
        id_ = back_up(repository, "one", TWO, checkpoint=SYSTEM)
    with open_repository(stock.location, write=False) as repository:
        reader = repository.archive("one")
        assert (reader.id, reader.time) == (id_, NOON)
        assert reader.manifest == manifest(TWO)
        assert told(reader.comment) == comment(checkpoint=SYSTEM, number=1)
        assert reader.ovf == OVF_BYTES
        assert b"ovirt-img upload-disk" in reader.read_file("README.txt")
        for disk, data in TWO.items():
            content = reader.disk(disk_path(disk))
            assert (content.size, content.damaged) == (len(data), False)
            check_content(content, data)
        content = reader.disk(disk_path(SYSTEM))
        zeros = [n for n, chunk in enumerate(content.chunks) if content.is_zero(chunk)]
        assert zeros == [n for n in range(151) if not any(DISK[n * CELL : (n + 1) * CELL])]
        with pytest.raises(ArchiveNotFound, match=r"no disk disks/x"):
            reader.disk("disks/x")
        with pytest.raises(ArchiveNotFound, match="no file x"):
            reader.read_file("x")


def test_a_short_tail_of_zeros_is_known(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    data = bytes(CELL) + bytes(100)
    with open_repository(stock.location, write=True) as repository:
        with repository.writer("zeros", started=NOON) as writer:
            writer.add_file(OVF, OVF_BYTES)
            sink = writer.disk(disk_path(SYSTEM), len(data), CELL)
            sink.zero(CELL)
            sink.zero(100)
            empty = writer.disk(disk_path(DATA), 0, CELL)
            empty.close()
            writer.commit(comment(), manifest({SYSTEM: data, DATA: b""}))
        content = repository.archive("zeros").disk(disk_path(SYSTEM))
        assert [content.is_zero(chunk) for chunk in content.chunks] == [True, True]
        assert b"".join(content.fetch(content.chunks)) == data
        assert len(repository.archive("zeros").disk(disk_path(DATA)).chunks) == 0
    stock.check()
    assert stock.content("zeros", disk_path(SYSTEM)) == data


def test_long_runs_of_zeros_are_counted_as_borg_counts_them(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    size = 1000 * CELL + 10

    def references() -> int:
        """To the chunk of zeros, as the cache counts them."""
        with open_repository(stock.location, write=True) as repository:
            zero = repository.archive("zeros").disk(disk_path(SYSTEM)).chunks[0]
            return int(repository._session._cache.chunks[zero.id].refcount)

    with (
        open_repository(stock.location, write=True) as repository,
        repository.writer("zeros", started=NOON) as writer,
    ):
        writer.add_file(OVF, OVF_BYTES)
        sink = writer.disk(disk_path(SYSTEM), size, CELL)
        sink.zero(CELL, 600)
        sink.zero(CELL, 400)
        sink.zero(10)
        writer.commit(comment(), manifest({SYSTEM: bytes(size)}))
    assert references() == 1000
    told = stock.json("info", "--json", f"{stock.location}::zeros")["archives"][0]["stats"]
    assert told["original_size"] >= size
    stock.run("delete", "--cache-only", stock.location)  # stock Borg counts anew
    assert references() == 1000


def test_reading_may_stop_half_way(stock: Stock) -> None:
    """Over `borg serve` answers are still under way then; they must not be taken for later ones."""
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: DISK})
        content = repository.archive("one").disk(disk_path(SYSTEM))
        for _ in range(3):
            fetching = content.fetch(content.chunks)
            assert next(fetching) == DISK[:CELL]
            fetching.close()
        back_up(repository, "two", {SYSTEM: DISK}, base="one")
        assert b"".join(content.fetch(content.chunks)) == DISK
    stock.check()


def test_which_archives_are_ours(make_repository: MakeRepository, tmp_path: Path) -> None:
    stock = make_repository("repokey")
    (tmp_path / "file").write_text("x")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "ours-2", TWO, started=NOON + timedelta(hours=1), kind="incremental")
        back_up(repository, "ours-1", TWO, checkpoint=DATA)
        back_up(repository, "ours-0.checkpoint", TWO)
    stock.run("create", f"{stock.location}::theirs", str(tmp_path / "file"))
    newer = '{{"tool": "borg-ovirt", "layout": 2}}'
    stock.run("create", "--comment", newer, f"{stock.location}::newer", str(tmp_path / "file"))
    with open_repository(stock.location, write=False) as repository:
        ours = repository.archives()
        assert [info.name for info in ours] == ["ours-1", "ours-2"]
        assert told(ours[0].comment) == comment(checkpoint=DATA, number=2)
        assert ours[0].time == NOON
        assert ours[0].duration > timedelta(0)
        assert ours[0].original_size > len(DISK) > ours[0].compressed_size
        assert ours[1].comment.kind == "incremental"
        assert repository.all_names() == {"ours-1", "ours-2", "ours-0.checkpoint", "theirs", "newer"}
        with pytest.raises(NotOurArchive, match="not made by borg-ovirt"):
            _ = repository.archive("theirs").manifest
    stock.run("recreate", "--comment", "mine!", f"{stock.location}::ours-1")
    with open_repository(stock.location, write=False) as repository:
        again = {info.name: info.comment for info in repository.archives()}
        assert again["ours-1"].vm_id == comment().vm_id
        assert again["ours-1"].kind == "full"


def test_renamed_and_recompressed_by_others(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", TWO, checkpoint=DATA)
    stock.run("rename", f"{stock.location}::one", "uno")
    stock.run("recreate", "--compression", "zlib,1", "--recompress", "always", f"{stock.location}::uno")
    with open_repository(stock.location, write=False) as repository:
        (info,) = repository.archives()
        assert (info.name, told(info.comment)) == ("uno", comment(checkpoint=DATA, number=1))
        content = repository.archive("uno").disk(disk_path(SYSTEM))
        assert b"".join(content.fetch(content.chunks)) == DISK


@pytest.mark.parametrize("compression", ["none", "zlib,1", "auto,zstd,3", "obfuscate,2,lz4", "zstd,1"])
def test_compressions(make_repository: MakeRepository, compression: str) -> None:
    stock = make_repository("none")
    data = DISK[: 20 * CELL] + b"tail"
    with open_repository(stock.location, write=True, compression=compression) as repository:
        back_up(repository, "one", {SYSTEM: data})
    stock.check()
    with open_repository(stock.location, write=False) as repository:
        content = repository.archive("one").disk(disk_path(SYSTEM))
        assert b"".join(content.fetch(content.chunks)) == data


def test_a_comment_is_taken_as_it_is(stock: Stock) -> None:
    """Stock Borg expands placeholders in --comment; in process nothing does."""
    odd = comment(vm_name="{now} ::{hostname} \"'\\ ä", reason="{}", number=1)
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", TWO, vm_name=odd.vm_name, reason=odd.reason)
        made = repository.archives()[0].comment
        assert told(made) == odd
        changed = made.model_copy(update={"held": True})
        before = repository.archive("one").id
        repository.hold(["one"])
        assert repository.archive("one").id != before
        assert repository.archives()[0].comment == changed
    (info,) = stock.json("info", "--json", f"{stock.location}::one")["archives"]
    assert info["comment"] == changed.to_text()
    stock.check()


def test_hold_release_delete_compact(stock: Stock) -> None:
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: DISK})
        back_up(repository, "two", {SYSTEM: DISK[:-CELL] + image(5, 1, zeros=0)}, base="one")
        assert repository.hold(["one", "two"]) == ["one", "two"]
        assert repository.hold(["one"]) == []
        assert [info.comment.held for info in repository.archives()] == [True, True]
        assert repository.release(["one"]) == ["one"]
        with pytest.raises(ArchiveNotFound, match="three"):
            repository.hold(["two", "three"])
        with pytest.raises(ArchiveNotFound, match="three"):
            repository.delete(["one", "three"])
        assert repository.all_names() == {"one", "two"}
        freed = repository.delete(["one"])
        assert 0 < freed < 3 * CELL
        size = sum(Path(p).stat().st_size for p in stock.segments())
        repository.compact(0)
        assert sum(Path(p).stat().st_size for p in stock.segments()) < size
        back_up(repository, "three", {SYSTEM: DISK}, base="two")
        assert [info.comment.held for info in repository.archives()] == [False, True]
    stock.check()
    assert stock.content("three", disk_path(SYSTEM)) == DISK


def test_a_chunk_that_is_lost(make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: DISK})
        chunks = repository.archive("one").disk(disk_path(SYSTEM)).chunks
        lost = next(chunk for chunk in chunks if chunk.id != chunks[3].id)
    stock.run("debug", "delete-obj", stock.location, lost.id.hex())
    with open_repository(stock.location, write=False) as repository:
        content = repository.archive("one").disk(disk_path(SYSTEM))
        assert content.damaged
        assert not repository.has(lost)
        with pytest.raises(RepositoryError, match="borg check"):
            list(content.fetch(content.chunks))
        assert repository.archive("one").ovf == OVF_BYTES
    with open_repository(stock.location, write=True) as repository:
        assert repository.archive("one").disk(disk_path(SYSTEM)).damaged
        assert not repository.has(lost)
    monkeypatch.setenv("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")
    stock.run("check", "--repair", stock.location)
    with open_repository(stock.location, write=True) as repository:
        assert repository.archive("one").disk(disk_path(SYSTEM)).damaged
        with (
            pytest.raises(RepositoryError, match="misses a chunk"),
            repository.writer("x", started=NOON) as w,
        ):
            w.disk("disks/x", lost.size, lost.size).reuse(lost)


@pytest.mark.parametrize("mode", ["none", "repokey", "authenticated-blake2"])
def test_a_chunk_that_is_another(make_repository: MakeRepository, mode: str) -> None:
    """Whole, and made with our key, but not the bytes of that id."""
    stock = make_repository(mode)
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: DISK})
        content = repository.archive("one").disk(disk_path(SYSTEM))
        places = list(content.data_chunks(0, len(content.chunks) - 1, CELL))
        first, second = content.chunks[places[0]], content.chunks[places[1]]
    with LocalRepository(stock.location, exclusive=True) as bare:
        bare.put(first.id, bare.get(second.id))
        bare.commit(compact=False)
    with open_repository(stock.location, write=False) as repository:
        content = repository.archive("one").disk(disk_path(SYSTEM))
        with pytest.raises(RepositoryDamaged, match="id verification failed"):
            list(content.fetch(content.chunks))
        assert list(content.fetch([second])) == [DISK[places[1] * CELL :][:CELL]]


def test_a_lost_chunk_is_written_again(make_repository: MakeRepository) -> None:
    """The cache still counts it; taken at its word, the new archive would have a hole."""
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: DISK})
        lost = repository.archive("one").disk(disk_path(SYSTEM)).chunks[-1]
    stock.run("debug", "delete-obj", stock.location, lost.id.hex())
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "two", {SYSTEM: DISK})
        assert not repository.archive("one").disk(disk_path(SYSTEM)).damaged
    stock.check()
    assert stock.content("two", disk_path(SYSTEM)) == DISK


def writing(repository: Repository) -> AbstractContextManager[ArchiveWriter]:
    return repository.writer("x", started=NOON)


@contextmanager
def tampered(repository: Repository, monkeypatch: pytest.MonkeyPatch, change: str) -> Iterator[None]:
    """Make the archive `bad` whose manifest tells something else than what is stored."""
    good = Manifest.to_json
    monkeypatch.setattr(
        Manifest, "to_json", lambda self: re.sub(*change.split("->"), good(self).decode()).encode()
    )  # type: ignore[call-overload]
    with repository.writer("bad", started=NOON) as writer:
        writer.add_file(OVF, OVF_BYTES)
        store_disk(writer, SYSTEM, DISK[:CELL])
        writer.commit(comment(), manifest({SYSTEM: DISK[:CELL]}))
    monkeypatch.undo()
    yield


TAMPERING = [
    (f'"size": {CELL}->"size": {CELL - 1}', "its manifest says"),
    (f"{SYSTEM}->{DATA}", "lacks"),
    ('"layout": 1->"layout": 7', "newer"),
    ('"path": "disks->"path": "../disks', "not valid"),
]


@pytest.mark.parametrize(("change", "told"), TAMPERING)
def test_a_tampered_manifest(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch, change: str, told: str
) -> None:
    stock = make_repository("none")
    with open_repository(stock.location, write=True) as repository:
        with pytest.MonkeyPatch.context() as patch, tampered(repository, patch, change):
            reader = repository.archive("bad")
        with pytest.raises(NotOurArchive, match=told):
            [reader.disk(path) for path in reader.manifest.contents]


def test_the_readme_can_be_followed(make_repository: MakeRepository, tmp_path: Path) -> None:
    """The commands of README.txt run as they stand, or at least are known to their programs."""
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", TWO)
        text = repository.archive("one").read_file("README.txt").decode()
    joined = text.replace("\\\n", " ")
    commands = [line.strip() for line in joined.splitlines() if re.match(r" {5}[a-z]", line)]
    borg = [c for c in commands if c.startswith("borg ")]
    assert borg == ["borg extract --sparse REPO::one"]
    stock.run(*shlex.split(borg[0].replace("REPO", stock.location))[1:], cwd=tmp_path)
    look = [c for c in commands if c.startswith("qemu-img ")]
    assert len(look) == 1
    subprocess.run(shlex.split(look[0]), cwd=tmp_path, check=True, capture_output=True)
    uploads = [shlex.split(c) for c in commands if c.startswith("ovirt-img ")]
    assert [words[-1] for words in uploads] == [disk_path(disk) for disk in TWO]
    program = Path(sys.executable).with_name("ovirt-img")
    asked = subprocess.run([program, "upload-disk", "--help"], capture_output=True, text=True, check=True)
    for words in uploads:
        assert (tmp_path / words[-1]).is_file()
        for option in (word for word in words if word.startswith("--")):
            assert option in asked.stdout


def test_thousands_of_archives_are_listed_quickly(make_repository: MakeRepository) -> None:
    """Their metadata are fetched in one go, and only once."""
    stock = make_repository("repokey", way="serve")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: b"x"})
        session = repository._session
        manifest_, archive = session._manifest, session._archive("one")

        def copies() -> None:
            for number in range(500):
                meta = archive._load_meta(archive.id)
                meta.name = f"copy-{number}"
                data = session._key.pack_and_authenticate_metadata(meta.as_dict(), context=b"archive")
                id_ = session.id_of(memoryview(data))
                session.add(id_, data, archive.stats)
                manifest_.archives[meta.name] = (id_, meta.time)

        session.transaction(copies)
        calls = session._repository.msgid
        assert len(repository.archives()) == 501
        assert session._repository.msgid - calls == 501
        assert len(repository.archives()) == 501
        assert session._repository.msgid - calls == 501


def test_has_is_strict_about_the_size(make_repository: MakeRepository) -> None:
    stock = make_repository("none")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {SYSTEM: DISK})
        chunk = repository.archive("one").disk(disk_path(SYSTEM)).chunks[0]
        assert repository.has(chunk)
        assert not repository.has(Chunk(chunk.id, chunk.size - 1))
