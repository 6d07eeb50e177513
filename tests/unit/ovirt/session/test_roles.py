"""The roles that are shipped, by the SDK and by Ansible, hold exactly the permits that doctor proves."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from ovirtbox import rights as box_rights

from borg_ovirt.ovirt.session.rights import ALL, TAGS, roles

RIGHTS = Path(__file__).parents[4] / "hooks" / "rights"
SYSTEM, CENTER = "borg-ovirt-system", "borg-ovirt-data-center"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("make_role", str(RIGHTS / "make-role"))
    spec = importlib.util.spec_from_loader("make_role", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_permits_are_those_that_doctor_proves(script: ModuleType) -> None:
    system = {*box_rights.FOR_BACKUPS_ON_SYSTEM, *box_rights.FOR_RESTORES_ON_SYSTEM, TAGS.permit}
    assert set(script.ROLES[SYSTEM]) == system == {"login", *(r.permit for r in ALL if r.on == "System")}
    center = {*box_rights.FOR_BACKUPS, *box_rights.FOR_RESTORES}
    assert set(script.ROLES[CENTER]) == center | {"login"}
    assert {name: set(permits) for name, permits in script.ROLES.items()} == {
        name: set(permits) for name, permits in roles().items()
    }
    assert center == {right.permit for right in ALL if right.on != "System"}


def test_ansible_makes_the_same(script: ModuleType) -> None:
    (play,) = yaml.safe_load((RIGHTS / "role.yaml").read_text())
    roles = [task["ovirt.ovirt.ovirt_role"] for task in play["tasks"] if "ovirt.ovirt.ovirt_role" in task]
    assert {role["name"]: role["permits"] for role in roles} == script.ROLES
    assert all(role["administrative"] for role in roles)
    given = [task["ovirt.ovirt.ovirt_permission"] for task in play["tasks"][-2:]]
    assert [(one["object_type"], one["role"]) for one in given] == [
        ("system", SYSTEM),
        ("data_center", CENTER),
    ]


class Service:
    """Any service of the engine: lists what it was given, remembers what is added."""

    def __init__(self, added: list[Any], **lists: list[Any]) -> None:
        self.added, self.lists = added, lists

    def __getattr__(self, name: str) -> Any:
        here = self.lists.get(name.removesuffix("_service"), [])
        return lambda *words: Service(self.added, **{**self.lists, "here": here})

    def list(self) -> list[Any]:
        return self.lists["here"]

    def get(self) -> Any:
        return self.lists["cluster_levels"][-1]

    def add(self, one: Any) -> Any:
        self.added.append(one)
        return SimpleNamespace(id=f"{len(self.added)}th")


@pytest.fixture
def engine(script: ModuleType) -> tuple[Service, list[Any]]:
    names = sorted({permit for permits in script.ROLES.values() for permit in permits})
    permits = [SimpleNamespace(name=name, id=str(number)) for number, name in enumerate(names)]
    added: list[Any] = []
    return (
        Service(
            added,
            cluster_levels=[SimpleNamespace(id="4.7", permits=permits)],
            data_centers=[SimpleNamespace(id="dc", name="Default")],
            roles=[],
            users=[],
        ),
        added,
    )


def test_the_script_makes_roles_of_administrators_and_gives_them(
    script: ModuleType, engine: tuple[Service, list[Any]]
) -> None:
    system, added = engine
    script.grant(system, "backup", "internal-authz", "Default")
    roles, others = added[:2], added[2:]
    assert [role.name for role in roles] == [SYSTEM, CENTER]
    assert all(role.administrative for role in roles)
    ids = script.permits(system)
    assert [{permit.id for permit in role.permits} for role in roles] == [
        {ids[name] for name in script.ROLES[role.name]} for role in roles
    ]
    user, first, second = others
    assert user.user_name == "backup@internal-authz"
    assert [(one.role.id, one.user.id) for one in (first, second)] == [("1th", "3th"), ("2th", "3th")]
