"""The commands of docs/restoring.md are run as they stand, each on a site where its case has happened."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from harness import Desk
from operating import SMALL
from ovirtbox.box import MIB, Box, DiskSpec

PAGE = (Path(__file__).parents[3] / "docs" / "restoring.md").read_text()
SECTIONS = {
    title: re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
NAMES = ("web01", "db01")


@pytest.fixture
def office(box: Box, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Two VMs with an archive each, and the map of the page where the commands look for it."""
    for number, name in enumerate(NAMES):
        vm = box.make_vm(name, [DiskSpec(SMALL)], running=False, tags=["production"])
        box.fill(box.disks(vm)[0], 0, MIB, seed=number)
        desk.create(vm)
    (config := desk.root / "config.yaml").write_text(f"repositories: {{local: {{location: {desk.repo}}}}}\n")
    text = PAGE[PAGE.index("```yaml\n") + 8 :]
    (desk.root / "second-site.yaml").write_text(text[: text.index("```")])
    desk.env["BORG_OVIRT_CONFIG"] = str(config)
    box.make_cluster("Second", (4, 7))
    box.make_domain("data2")
    box.make_profile("servers", "front")
    return desk


def perform(desk: Desk, line: str) -> str:
    words = shlex.split(line)
    assert words.pop(0) == "borg-ovirt", line
    here = {"second-site.yaml": str(desk.root / "second-site.yaml"), "restored": str(desk.root / "restored")}
    return desk.run(*(here.get(word, word) for word in words)).ok(0).out


def test_the_page(box: Box, office: Desk) -> None:
    """In the order of the page; what the box must show behind each section stands beside it."""
    web01 = box.vm("web01")
    (disk,) = box.disks(web01)
    truth = box.sha(disk)
    shown: dict[str, str] = {}
    for title, commands in SECTIONS.items():
        if title == "The VM is gone":
            box.remove_vm(web01)
        if title == "Back in place":
            box.fill(box.disks(web01)[0], MIB, MIB, seed=9)
            assert box.sha(box.disks(web01)[0]) != truth
        if title.startswith("Another cluster"):
            for vm in list(box.world.vms.values()):
                box.remove_vm(vm)
        shown[title] = "".join(perform(office, line) for line in commands)
        if title == "The VM is gone":
            web01 = box.vm("web01")
            assert [box.sha(disk) for disk in box.disks(web01)] == [truth]
        elif title == "The VM is there, but broken":
            (nic,) = box.vm("web01-restored").nics
            assert (nic.linked, box.vm("web01-restored").tags) == (False, [])
        elif title == "One disk":
            added = box.disks(web01)[1]
            assert (added.alias, box.sha(added)) == ("web01_old", truth)
        elif title == "One file":
            assert (office.root / "restored" / "README.txt").exists()
        elif title == "Back in place":
            assert next(box.sha(disk) for disk in box.disks(web01)) == truth
        elif title.startswith("Another cluster"):
            for name in NAMES:
                vm = box.vm(name)
                assert box.world.clusters[vm.cluster].name == "Second"
                assert [(nic.network, nic.profile) for nic in vm.nics] == [("front", "servers")]
        elif title.startswith("A drill"):
            assert box.vm("drill").status in ("up", "powering_up")
    assert {title for title, commands in SECTIONS.items() if commands} <= set(shown)
    box.stop_vm(box.vm("drill"))
    office.assert_clean()


def test_every_case_of_a_bad_day_is_on_the_page() -> None:
    expected = {
        *("The VM is gone", "The VM is there, but broken", "One disk", "One file", "Back in place"),
        "A new backup machine",
        *("Another cluster, another engine, a whole site", "With borg alone", "A drill, once a year"),
    }
    assert expected <= set(SECTIONS)


def test_every_option_of_the_page_is_one() -> None:
    from borg_ovirt.cli.extract import command

    known = {name for option in command.params for name in option.opts}
    lines = re.findall(r"borg-ovirt extract .*|`(--[a-z-]+)[ `=]", PAGE)
    assert lines
    told = {
        word
        for line in re.findall(r"borg-ovirt extract (.*)", PAGE)
        for word in re.findall(r"--[a-z-]+", line)
    }
    assert told <= known
