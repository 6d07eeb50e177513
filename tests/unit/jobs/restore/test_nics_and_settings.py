"""Network cards and settings in a plan: what is moved, renamed, set again, lost, and in the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from borg_ovirt.jobs.restore.again import Again, plan_again
from borg_ovirt.jobs.restore.into_ovirt_plan import may_be_named
from borg_ovirt.jobs.restore.nics import NicPlan, plan_nics
from borg_ovirt.jobs.restore.options import RestoreOptions, SiteMap
from borg_ovirt.jobs.restore.site import Held, Site
from borg_ovirt.ovirt.facts.networks import ProfileFacts
from borg_ovirt.ovirt.facts.ovf import NicChange, OvfNic
from borg_ovirt.repository.layout import Manifest, PermissionRecord, RunRecord, SettingsRecord, VmRecord

WHEN = datetime(2026, 3, 2, tzinfo=timezone.utc)
VM = "11111111-1111-4111-8111-111111111111"
MAC = "56:6F:1a:00:00:01"
CARD = OvfNic("id", "nic1", "lan", MAC, "gold")
SITE = Site(
    networks=frozenset({"lan", "dmz", "bare"}),
    profiles=(ProfileFacts("lan", "lan"), ProfileFacts("gold", "lan"), ProfileFacts("x", "dmz")),
    macs={MAC.lower(): "thief"},
    free_macs=9,
)
FREE = Site(networks=SITE.networks, profiles=SITE.profiles, free_macs=9)


def cards(site: Site = FREE, card: OvfNic = CARD, **choices: Any) -> tuple[NicPlan, list[str]]:
    blockers: list[str] = []
    (plan,) = plan_nics([card], site, RestoreOptions(**choices), blockers)
    return plan, blockers


def test_a_card_whose_place_is_there_stays_as_it_was() -> None:
    plan, blockers = cards()
    assert (plan.change, blockers, plan.notes) == (NicChange(), [], ())
    assert plan.lines() == [f"network card nic1: MAC address {MAC}, network lan (vNIC profile gold)"]


@pytest.mark.parametrize(
    ("free", "wanted", "word"),
    [(2, "new", ""), (1, "new", "1 addresses left, and 2 new ones"), (0, "keep", ""), (None, "keep", "")],
)
def test_a_pool_that_is_exhausted_is_in_the_way(free: int | None, wanted: str, word: str) -> None:
    blockers: list[str] = []
    plans = plan_nics([CARD, CARD], replace(FREE, free_macs=free), RestoreOptions(mac=wanted), blockers)
    assert [word in blocker for blocker in blockers] == ([True] if word else [])
    assert [plan.notes for plan in plans] == [(), ()]


def test_a_pool_that_cannot_be_counted_is_told_once() -> None:
    first, second = plan_nics([CARD, CARD], replace(FREE, free_macs=None), RestoreOptions(mac="new"), [])
    assert "cannot be told" in first.notes[0]
    assert second.notes == ()


@pytest.mark.parametrize(
    ("choices", "network", "profile"),
    [
        ({"networks": {"lan": "dmz"}}, "dmz", "x"),
        ({"networks": {"lan": "lan/lan"}}, "lan", "lan"),
        ({"networks": {"lan": "none"}}, "", ""),
        ({"mapping": SiteMap(networks={"lan": "dmz"})}, "dmz", "x"),
        ({"mapping": SiteMap(networks={"lan": "dmz"}), "networks": {"lan": "none"}}, "", ""),
        ({"mapping": SiteMap(networks={"other": "nowhere"})}, "lan", "gold"),
    ],
)
def test_a_card_is_moved(choices: dict[str, Any], network: str, profile: str) -> None:
    plan, blockers = cards(**choices)
    assert (plan.network, plan.profile, blockers) == (network, profile, [])
    moved = (network, profile) != ("lan", "gold")
    assert (plan.change.network, plan.change.profile) == ((network, profile) if moved else (None, None))


@pytest.mark.parametrize(
    ("networks", "why"),
    [
        ({"typo": "dmz"}, "no network card of the archive is on typo: it has lan"),
        ({"lan": "nowhere"}, "the cluster has no network nowhere; it has bare, dmz, lan"),
        ({"lan": "bare"}, "the cluster has no network bare"),
        ({"lan": "dmz/gold"}, "network dmz has no vNIC profile gold; it has x"),
    ],
)
def test_what_was_asked_for_and_cannot_be_had(networks: dict[str, str], why: str) -> None:
    _, blockers = cards(networks=networks)
    assert len(blockers) == 1
    assert why in blockers[0]


def test_a_network_that_went_is_told_and_in_nobodys_way() -> None:
    plan, blockers = cards(card=OvfNic("id", "nic1", "gone", None, "gone"))
    assert blockers == []
    assert plan.notes == (
        "the cluster has no network gone: the card comes back on none; "
        "--network gone=OTHER puts it on another",
    )
    plan, _ = cards(card=OvfNic("id", "nic1", "lan", None, "silver"))
    assert (plan.profile, plan.notes) == ("lan", ("there is no vNIC profile silver any more",))


@pytest.mark.parametrize(
    ("choices", "new", "blocked"),
    [
        ({}, False, True),
        ({"mac": "new"}, True, False),
        ({"mac": "new-if-taken"}, True, False),
        ({"mapping": SiteMap(mac="new-if-taken")}, True, False),
        ({"mac": "keep", "mapping": SiteMap(mac="new")}, False, True),
        ({"name": "copy"}, True, False),
        ({"name": "copy", "mac": "keep"}, False, True),
    ],
)
def test_an_address_that_is_taken(choices: dict[str, Any], new: bool, blocked: bool) -> None:
    plan, blockers = cards(SITE, **choices)
    assert plan.new_mac == new
    assert any("which VM thief has" in text for text in blockers) == blocked
    assert cards(FREE, mac="new-if-taken")[0].new_mac is False


def test_cards_off() -> None:
    assert cards(nics_off=True)[0].change.linked is False
    unlinked = OvfNic("id", "nic1", "lan", MAC, "gold", linked=False)
    assert cards(card=unlinked, nics_off=True)[0].change.linked is None


def manifest(settings: SettingsRecord | None, tags: tuple[str, ...] = ()) -> Manifest:
    run = RunRecord(
        tool_version="1",
        host="h",
        engine="e",
        kind="full",
        way="w",
        consistency_asked="auto",
        consistency="unknown",
        started=WHEN,
        ended=WHEN,
    )
    vm = VmRecord(id=VM, name="web", tags=tags, settings=settings)
    return Manifest(mode="image", vm=vm, disks=(), run=run)


def test_only_what_the_engine_has_is_set_again() -> None:
    record = SettingsRecord(
        quota="q",
        lease="data",
        labels=("a", "b"),
        permissions=(
            PermissionRecord(principal="me", role="Admin"),
            PermissionRecord(principal="gone", role="Admin"),
        ),
        cdrom="iso",
        unread=("CD: refused",),
    )
    held = Held(
        tags=frozenset({"old"}),
        labels={"a": "1"},
        domains={"data2": "2"},
        roles={"Admin": "3"},
        principals={("me", False): "4"},
    )
    mapping = SiteMap(storage_domains={"data": "data2"})
    again, lost = plan_again(manifest(record, ("old", "new")), held, RestoreOptions(mapping=mapping))
    assert again.lines() == [
        "set again: tags old, new (new to be made)",
        "set again: affinity label a",
        "set again: lease on data2",
        "set again: role Admin for me",
    ]
    assert [text.split(":")[0] for text in lost] == [
        "affinity label b",
        "quota q",
        "role Admin for gone",
        "CD iso",
        "what the backup could not read of CD",
    ]


def test_tags_that_nobody_could_list_are_tried_and_none_are_with_no_tags() -> None:
    again, _ = plan_again(manifest(SettingsRecord(), ("t",)), Held(), RestoreOptions())
    assert (again.tags, again.new_tags) == (("t",), ())
    again, lost = plan_again(manifest(SettingsRecord(), ("t",)), Held(), RestoreOptions(no_tags=True))
    assert (again, lost) == (Again(), ("tags t: left by --no-tags",))


def test_an_archive_of_before_says_so() -> None:
    _, lost = plan_again(manifest(None), Held(), RestoreOptions())
    assert "this archive was made before they were recorded" in lost[0]


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        *(("web-1_a.b", True), ("Büro", True), ("東京", True), ("", False), ("a b", False), ("x²", False)),
        *(("x" * 255, True), ("x" * 256, False), ("𐐀" * 128, False), ("a/b", False)),
    ],
)
def test_the_names_that_an_engine_takes(name: str, fits: bool) -> None:
    assert may_be_named(name) == fits
