"""What a VM has beside its OVF, from an engine that tells only part of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unit.ovirt.script import HASTY, Answer, Script, fault

from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.facts.settings import SettingsFacts, read_settings
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess

VM = VmFacts("vm", "web", "down", "cluster", "Default", (4, 7), data_center_id="dc")


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    made.on("GET", "/vms/vm", '<vm id="vm"/>')
    for path, tag in (
        ("/vms/vm/affinitylabels", "affinity_labels"),
        ("/clusters/cluster/affinitygroups", "affinity_groups"),
        ("/vms/vm/numanodes", "vm_numa_nodes"),
        ("/vms/vm/permissions", "permissions"),
        ("/vms/vm/cdroms", "cdroms"),
    ):
        made.on("GET", path, f"<{tag}/>")
    yield made
    made.close()


def read(script: Script) -> SettingsFacts:
    with Engine(EngineAccess(script.url, "u@internal", "p"), patience=HASTY) as engine:
        return read_settings(engine, VM)


def test_a_plain_vm_has_none_of_it(script: Script) -> None:
    assert read(script) == SettingsFacts()


def test_permissions_that_come_from_above_are_not_the_vms(script: Script) -> None:
    script.on(
        "GET",
        "/vms/vm/permissions",
        '<permissions><permission id="1"><role id="r"/><user id="u"/><vm id="vm"/></permission>'
        '<permission id="2"><role id="r"/><user id="u"/><cluster id="cluster"/></permission>'
        '<permission id="3"><role id="gone"/><user id="u"/><vm id="vm"/></permission></permissions>',
    )
    script.on("GET", "/roles", '<roles><role id="r"><name>Admin</name></role></roles>')
    script.on("GET", "/users", '<users><user id="u"><user_name>me@internal</user_name></user></users>')
    held = {"principal": "me@internal", "group": False, "role": "Admin"}
    assert read(script).permissions == [held]


def test_what_is_refused_is_named_and_the_rest_read(script: Script) -> None:
    script.on("GET", "/vms/vm/affinitylabels", fault("no", 403))
    script.on("GET", "/vms/vm/cdroms", '<cdroms><cdrom id="1"><file id="iso"/></cdrom></cdroms>')
    found = read(script)
    assert [text.split(":")[0] for text in found.unread] == ["affinity labels"]
    assert found.cdrom == "iso"


def test_an_engine_that_is_away_is_waited_for_once(script: Script) -> None:
    for path in ("/vms/vm/affinitylabels", "/vms/vm/numanodes"):
        script.on("GET", path, Answer(503, "<html/>", "text/html"))
    (told,) = read(script).unread
    assert told.startswith("affinity labels, and what comes behind it: ")
