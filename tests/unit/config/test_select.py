"""Selection and overrides: pure rules on the traits of a VM."""

from __future__ import annotations

import pytest

from borg_ovirt.config.load import parse
from borg_ovirt.config.select import Traits, searches_of, selected, settings_for

VM = Traits(
    id="9d6e1a40-3f5c-4c52-9a0e-0d1c2b3a4f55",
    name="web01",
    tags=frozenset({"backup", "web"}),
    cluster="Production",
    data_center="Berlin",
)
SEARCHES = {"memory > 4096": frozenset({VM.id}), "status = down": frozenset()}


@pytest.mark.parametrize(
    "rule",
    [
        "names: ['web*']",
        "names: [db01, web01]",
        "ids: [9D6E1A40-3F5C-4C52-9A0E-0D1C2B3A4F55]",
        "tags: [web]",
        "clusters: [Production]",
        "data_centers: [Berlin]",
        "search: memory > 4096",
        "{names: [nothing], tags: [backup]}",
    ],
)
def test_any_fitting_rule_includes_or_excludes(rule: str) -> None:
    inner = rule if rule.startswith("{") else "{" + rule + "}"
    assert selected(parse(f"vms: {{include: {inner}}}", "c"), VM, SEARCHES)
    assert not selected(parse(f"vms: {{exclude: {inner}}}", "c"), VM, SEARCHES)


@pytest.mark.parametrize(
    "rule", ["names: [web]", "names: ['WEB*']", "tags: [Web]", "clusters: [Prod]", "search: status = down"]
)
def test_a_rule_that_does_not_fit_does_not_include(rule: str) -> None:
    assert not selected(parse(f"vms: {{include: {{{rule}}}}}", "c"), VM, SEARCHES)


def test_without_rules_every_vm_is_selected() -> None:
    assert selected(parse("", "c"), VM, {})


CONFIG = parse(
    """
policy: {freeze: auto, readers: 2}
retention: {daily: 7}
vms:
  exclude_disks: {aliases: [swap], larger_than: 4TiB}
overrides:
- vms: {tags: [web]}
  policy: {freeze: never}
  exclude_disks: {ids: [d1], larger_than: 1TiB}
- vms: {names: [web01], search: cpus > 4}
  policy: {sample: 5%}
  retention: {daily: 30}
- vms: {names: [db*]}
  policy: {readers: 8}
""",
    "c",
)


def test_overrides_that_fit_apply_key_by_key_in_order() -> None:
    settings = settings_for(CONFIG, VM, {})
    assert settings.policy.freeze == "never"
    assert settings.policy.readers == 2
    assert settings.policy.sample == pytest.approx(0.05)
    assert settings.retention.daily == 30
    assert settings.exclude_disks.aliases == ["swap"]
    assert settings.exclude_disks.ids == ["d1"]
    assert settings.exclude_disks.larger_than == 1 << 40


def test_other_vms_keep_the_general_rules() -> None:
    settings = settings_for(CONFIG, Traits("x", "mail"), {})
    assert settings.policy == CONFIG.policy
    assert settings.retention.daily == 7
    assert settings.exclude_disks == CONFIG.vms.exclude_disks


def test_every_search_is_known_before_the_engine_is_asked() -> None:
    assert searches_of(CONFIG) == {"cpus > 4"}
