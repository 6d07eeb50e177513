"""The commands of the pages for operators are run as they stand, and their output is what the pages show.

`UPDATE_DOCS=1 pytest ...` writes what came back into the page.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import PASSPHRASE, Desk
from libvirt_host import boot_sector
from listeners import mail_server, web_hook
from operating import SMALL
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.machines import AGENT

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "operating.md"
"""Whose configuration holds for the other pages, too."""
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(
    r"^```console\n(.*?)^```\n|^<!-- (?:the next night|a night before) -->$", re.MULTILINE | re.DOTALL
)
COMMAND = re.compile(r"^\$ (.*)\n", re.MULTILINE)

VARYING = (
    (re.compile(r"[\d.]+ \w+ were freed"), "SIZE were freed"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z(-\d+)?"), "INSTANT"),
    (re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)?s\b|\b\d+m\d\ds\b|\b\d+[hd]\d\d[mh]\b"), "SPAN"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"borg-ovirt-proof-[0-9a-f]{8}"), "SCRATCH"),
    (re.compile(r"\d+ (events|image transfers)"), r"N \1"),
    (re.compile(r"\b\d+(\.\d+)? [KMGTP]iB (of|free|read\.)"), r"SIZE \2"),
    (re.compile(r"\b\d+(\.\d+)? KiB +"), "SIZE "),  # an archive's own metadata compress by their times
    (re.compile(r"\b(borg-ovirt|Python|BorgBackup|oVirt SDK|oVirt) [\d.]+[\w.-]*"), r"\1 VERSION"),
)


def furnish(box: Box) -> None:
    for name in ("web01", "web02"):
        vm = box.make_vm(name, [DiskSpec(SMALL)], tags=["production"])
        box.fill(box.disks(vm)[0], 0, 3 * MIB, seed=int(name[-1]))
    for name, extra in (("db01", "lun"), ("files01", None)):
        disks = [DiskSpec(SMALL)] + ([DiskSpec(SMALL, storage_type=extra)] if extra else [])
        vm = box.make_vm(name, disks, running=False, tags=["production"])
        box.fill(box.disks(vm)[0], 0, 2 * MIB, seed=len(name) + 3)
    box.make_vm("test01", [DiskSpec(SMALL)], running=False, tags=["scratch"])


@pytest.fixture
def office(box: Box, desk: Desk) -> Iterator[Desk]:
    """The data center of the pages, and their configuration."""
    if not any(vm.name == "web01" for vm in box.world.vms.values()):
        furnish(box)
    text = PAGE.read_text()
    settings = text[text.index("```yaml\n") + 8 :]
    config = yaml.safe_load(settings[: settings.index("```")])
    passphrase = desk.root / "passphrase"
    passphrase.write_text(PASSPHRASE)
    passphrase.chmod(0o600)
    desk.borg("key", "export", desk.repo, str(desk.root / "key-backup"))
    engine, local = config["engines"]["main"], config["repositories"]["local"]
    engine.update(url=box.url, username=box.user)
    engine.update(password_file=str(box.password_file), ca_file=str(box.ca_file))
    local.update(
        location=desk.repo, passphrase_file=str(passphrase), key_backup=str(desk.root / "key-backup")
    )
    path = desk.root / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    for name in [name for name in desk.env if name.startswith("BORG_OVIRT_") or name == "BORG_PASSPHRASE"]:
        del desk.env[name]
    state = str(desk.root / "state")
    desk.env.update(BORG_OVIRT_CONFIG=str(path), BORG_OVIRT_STATE_DIR=state, COLUMNS="100", TZ="UTC")
    return desk


def perform(desk: Desk, line: str) -> str:
    words = shlex.split(line)
    assert words[0] == "borg-ovirt", line
    if words[1] == "doctor":
        data = desk.box.engine.data
        words += [f"--host-port={data.host.port}", f"--proxy-port={data.proxy.port}"]
    done = desk.run(*words[1:]).ok(0, 1)
    places = {
        desk.repo: "/srv/borg/vms",
        str(desk.root / "config.yaml"): "/etc/borg-ovirt/config.yaml",
        str(desk.root / "state"): "/var/lib/borg-ovirt",
        str(desk.box.password_file): "/etc/borg-ovirt/password",
        str(desk.root / "passphrase"): "/etc/borg-ovirt/passphrase",
        str(desk.root / "key-backup"): "/etc/borg-ovirt/key-backup",
        f":{desk.box.engine.data.host.port}": ":54322",
        f":{desk.box.engine.data.proxy.port}": ":54323",
        desk.box.user: "backup@internal",
        "localhost": "engine.example.org",
    }
    said = done.out
    for ours, theirs in places.items():
        said = said.replace(ours, theirs)
    return "".join(f"{text.rstrip()}\n" for text in said.splitlines())


def plain(text: str) -> list[str]:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return [" ".join(line.split()) for line in text.splitlines()]


def add(desk: Desk, settings: dict[str, Any]) -> None:
    """To the configuration, as a page says."""
    path = Path(desk.env["BORG_OVIRT_CONFIG"])
    config = yaml.safe_load(path.read_text())
    for key, value in settings.items():
        config[key] = {**config[key], **value} if isinstance(config.get(key), dict) else value
    path.write_text(yaml.safe_dump(config))


@contextmanager
def guests_to_prove(desk: Desk, settings: dict[str, Any]) -> Iterator[None]:
    """db01 has a guest agent, files01 says `login:`, and there is a storage domain for scratch disks."""
    box = desk.box
    scratch = box.make_domain("scratch")
    for name, start in (("db01", AGENT), ("files01", boot_sector(b"login:"))):
        box.write(box.disks(box.vm(name))[0], 0, start)
    add(desk, settings)
    yield
    del box.world.domains[scratch.id]


@contextmanager
def people(desk: Desk, settings: dict[str, Any]) -> Iterator[None]:
    """Who reads what the page's addresses are sent."""
    with web_hook() as hook, mail_server() as mail:
        (desk.root / "notify-url").write_text(hook.url)
        first, second = settings["notify"]
        assert first["url_file"] == "/etc/borg-ovirt/notify-url"
        first["url_file"] = str(desk.root / "notify-url")
        second["url"] = second["url"].replace("//localhost:25?", f"//127.0.0.1:{mail.port}?")
        add(desk, settings)
        yield
        assert (len(hook.got), len(mail.got)) == (1, 1)


PAGES = ["report.md", "notifications.md", "proof.md", "operating.md"]
"""The last one moves the clock."""
PREPARED = {"proof.md": guests_to_prove, "notifications.md": people}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_shows_what_its_commands_say(box: Box, office: Desk, name: str) -> None:
    path = DOCS / name
    page = path.read_text()
    with ExitStack() as stack:
        if name in PREPARED:
            stack.enter_context(PREPARED[name](office, yaml.safe_load(YAML.findall(page)[0])))
        fresh = carried_out(box, office, page)
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(fresh)
    # Which of several VMs is done first is anybody's guess.
    assert sorted(plain(fresh)) == sorted(plain(page))


def carried_out(box: Box, office: Desk, page: str) -> str:
    """The page, with what its commands say now."""
    fresh, at = "", 0
    for block in BLOCK.finditer(page):
        fresh += page[at : block.start()]
        at = block.end()
        if "a night before" in block[0]:
            perform(office, "borg-ovirt create")
            fresh += block[0]
            continue
        if block[1] is None:
            box.shift(days=1)
            box.fill(box.disks(box.vm("web01"))[0], 5 * MIB, MIB, seed=5)
            fresh += block[0]
            continue
        commands = COMMAND.findall(block[1])
        assert commands
        fresh += "```console\n" + "".join(f"$ {line}\n{perform(office, line)}" for line in commands) + "```\n"
    return fresh + page[at:]


def test_every_command_of_ours_is_on_the_page() -> None:
    from borg_ovirt.cli.root import COMMANDS

    ours = {"create", "prune", "hold", "release", "vms", "cleanup", "doctor", "config"}
    assert ours <= set(COMMANDS)
    shown = {line.split()[1] for line in re.findall(r"^\$ (.*)", PAGE.read_text(), re.MULTILINE)}
    assert ours == shown


@pytest.mark.parametrize("page", ["operating.md", "hooks.md", "report.md", "proof.md", "notifications.md"])
def test_the_yaml_of_the_pages_is_valid_configuration(page: str) -> None:
    from borg_ovirt.config.load import parse

    blocks = YAML.findall((DOCS / page).read_text())
    configurations = [block for block in blocks if "alert:" not in block]
    assert configurations
    for block in configurations:
        parse(block, page)
