"""Wheel and source distribution are built, and looked into: all that belongs in them is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec

from borg_ovirt.cli.root import COMMANDS

TREE = Path(__file__).parents[3]
OURS = ("borg_ovirt", "docs", "hooks", "packaging", "tests", "tools", ".ci")
VERSION = "98.7.6"
BUILD = (
    "import sys\nfrom setuptools import build_meta\n"
    "print(getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2]), file=sys.stderr)"
)
COMPLETIONS = (
    "bash-completion/completions/borg-ovirt",
    "zsh/site-functions/_borg-ovirt",
    "fish/vendor_completions.d/borg-ovirt.fish",
)


def build(kind: str, source: Path, target: Path) -> Path:
    """As a build front end does it, with the packages of this environment."""
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(target)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, with another version in the one place where it stands."""
    copy = tmp_path_factory.mktemp("source") / "tree"
    copy.mkdir()
    for path in TREE.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy2(path, copy)
    for name in OURS:
        shutil.copytree(TREE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    init = copy / "borg_ovirt" / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{VERSION}"', init.read_text()))
    return copy


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    root = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", source, root / "dist")) as archive:
        archive.extractall(root, filter="data")
    return root / f"borg_ovirt-{VERSION}"


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Made from the source distribution, as whoever has only that would."""
    made = build("wheel", sdist, tmp_path_factory.mktemp("wheel") / "dist")
    assert made.name == f"borg_ovirt-{VERSION}-py3-none-any.whl"
    return zipfile.ZipFile(made)


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed away from the tree; what it depends on comes from this environment."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, str(wheel.filename)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def shared(wheel: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    prefix = f"borg_ovirt-{VERSION}.data/data/share/"
    return {
        info.filename.removeprefix(prefix): info
        for info in wheel.infolist()
        if info.filename.startswith(prefix)
    }


def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(wheel.read(f"borg_ovirt-{VERSION}.dist-info/METADATA").decode())


def test_the_source_distribution_holds_every_file_of_the_tree(source: Path, sdist: Path) -> None:
    made = ("egg-info", "build", "share", "__pycache__")
    for path in source.rglob("*"):
        place = path.relative_to(source)
        if path.is_file() and not any(part.endswith(made) for part in place.parts):
            copy = sdist / place
            if place != Path("setup.cfg"):  # setuptools writes its own lines into that
                assert copy.is_file(), place
                assert copy.read_bytes() == path.read_bytes(), place
            assert copy.stat().st_mode & 0o100 == path.stat().st_mode & 0o100, place


def test_pages_and_completions_are_in_both(sdist: Path, wheel: zipfile.ZipFile) -> None:
    names = {f"man/man1/borg-ovirt-{name}.1" for name in COMMANDS} | {"man/man1/borg-ovirt.1", *COMPLETIONS}
    assert names <= {str(p.relative_to(sdist / "share")) for p in (sdist / "share").rglob("*")}
    in_wheel = shared(wheel)
    assert names <= set(in_wheel)
    page = wheel.read(in_wheel["man/man1/borg-ovirt-create.1"]).decode()
    assert f'"borg-ovirt {VERSION}"' in page


def test_the_wheel_holds_modules_hooks_and_documentation(source: Path, wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for path in (source / "borg_ovirt").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(source)) in names
    assert not [name for name in names if name.startswith("tests")]
    in_share = shared(wheel)
    for folder, place in (("hooks", "borg-ovirt/hooks"), ("docs", "doc/borg-ovirt/docs")):
        for path in (source / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                info = in_share[f"{place}/{path.relative_to(source / folder)}"]
                assert wheel.read(info) == path.read_bytes()
                assert bool(info.external_attr >> 16 & 0o100) == bool(path.stat().st_mode & 0o100), path
    assert wheel.read(in_share["doc/borg-ovirt/README.md"]) == (source / "README.md").read_bytes()


def test_an_index_page_has_what_it_shows(source: Path, wheel: zipfile.ZipFile) -> None:
    told = metadata(wheel)
    assert told["Version"] == VERSION
    urls = dict(line.split(", ", 1) for line in told.get_all("Project-URL") or [])
    home = told["Home-page"] or urls["Homepage"]
    assert {"Documentation", "Changes", "Security"} <= set(urls)
    links = re.findall(r"\]\(([^)]+)\)", told.get_payload())
    assert len(links) >= 10
    for link in [*links, *urls.values()]:
        assert link.startswith("https://"), link
        if link.startswith(home) and link != home:
            assert (source / link.removeprefix(f"{home}/blob/main/")).is_file(), link
    assert "mount" in (told.get_all("Provides-Extra") or [])


def test_the_installed_command_backs_up_a_vm(installed: Path, tmp_path: Path) -> None:
    with Box.start(tmp_path / "box") as box:
        vm = box.make_vm("web01", [DiskSpec(8 * MIB)], running=False)
        box.fill(box.disks(vm)[0], MIB, MIB, seed=1)
        desk = Desk(box, tmp_path / "desk", PYTHONPATH=str(installed))

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            command = [str(installed / "bin" / "borg-ovirt"), *words]
            return subprocess.run(command, cwd=tmp_path, env=desk.env, capture_output=True, text=True)

        assert run("--version").stdout == f"borg-ovirt, version {VERSION}\n"
        assert f"borg-ovirt {VERSION}, Python" in run("doctor", desk.repo).stdout
        done = run("create", f"{desk.repo}::web01")
        assert done.returncode == 0, done.stderr
        (archive,) = desk.archives()
        desk.assert_archived(archive, vm)
        desk.assert_clean()
    assert (installed / "share" / "man" / "man1" / "borg-ovirt.1").is_file()
    ping = installed / "share" / "borg-ovirt" / "hooks" / "healthchecks" / "ping"
    assert ping.stat().st_mode & 0o111 == 0o111
