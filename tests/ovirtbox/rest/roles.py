"""Users, roles, permits and permissions on the system and on data centers."""

from __future__ import annotations

from flask import Blueprint, Response

from ovirtbox import rights
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import conflict, entity_not_found, incomplete, not_found
from ovirtbox.model import Grant, Role, User
from ovirtbox.rest.lists import by_id
from ovirtbox.xml import API, Element, attribute, boolean, element, href, leaf, parse_body, ref, reply, text

blueprint = Blueprint("roles", __name__, url_prefix=API)

LEVELS = ("4.6", "4.7")
PROVIDER = "internal-authz"
"""Who knows the users that log in by the profile `internal`."""


# --- users -----------------------------------------------------------------------------------------


def _user(user: User) -> Element:
    return element("user", leaf("user_name", user.listed_as), id=user.id, href=href("users", user.id))


@blueprint.get("/users")
def users() -> Response:
    """Those whom the engine knows; of a directory's others only those who were added."""
    return reply(element("users", [_user(user) for user in core().users.values() if user.is_known]))


@blueprint.post("/users")
def add_user() -> Response:
    """From a directory: it is there, and has no right yet."""
    body = parse_body("user")
    name, domain = text(body, "user_name"), text(body, "domain/name")
    if not name or not domain:
        raise incomplete("User", "userName, domain.name")
    if domain != PROVIDER:
        raise entity_not_found(f"Domain: name={domain}")
    found = next((user for user in core().users.values() if user.listed_as == name), None)
    if found is None:
        raise entity_not_found(f"User: name={name}")
    found.added = True
    return reply(_user(found), 201)


@blueprint.get("/domains")
def domains() -> Response:
    """Authorization providers."""
    return reply(element("domains", element("domain", leaf("name", PROVIDER), id=rights.PROVIDER_ID)))


@blueprint.get("/groups")
def user_groups() -> Response:
    """Of a directory: the box has none."""
    return reply(element("groups"))


# --- permits and roles -----------------------------------------------------------------------------


def _permit(name: str) -> Element:
    return element(
        "permit",
        leaf("name", name),
        leaf("administrative", name in rights.ADMINISTRATIVE_ONLY),
        id=rights.permit_id(name),
    )


def _level(name: str) -> Element:
    return element(
        "cluster_level",
        element("permits", [_permit(permit) for permit in rights.EVERY_PERMIT]),
        id=name,
        href=href("clusterlevels", name),
    )


@blueprint.get("/clusterlevels")
def levels() -> Response:
    return reply(element("cluster_levels", [_level(name) for name in LEVELS]))


@blueprint.get("/clusterlevels/<name>")
def level(name: str) -> Response:
    if name not in LEVELS:
        raise not_found()
    return reply(_level(name))


def _role(role: Role) -> Element:
    return element(
        "role",
        leaf("name", role.name),
        leaf("administrative", role.administrative),
        leaf("mutable", True),
        id=role.id,
        href=href("roles", role.id),
    )


@blueprint.get("/roles")
def roles() -> Response:
    return reply(element("roles", [_role(role) for role in core().roles.values()]))


@blueprint.post("/roles")
def add_role() -> Response:
    engine = core()
    body = parse_body("role")
    name, administrative = text(body, "name"), boolean(body, "administrative")
    asked = [permit.get("id") or "" for permit in body.iterfind("permits/permit")]
    if not name or administrative is None or not asked:
        raise incomplete("Role", "name, administrative, permits.id")
    known = {rights.permit_id(permit): permit for permit in rights.EVERY_PERMIT}
    for one in asked:
        if one not in known:
            raise entity_not_found(one)
    if any(role.name == name for role in engine.roles.values()):
        raise conflict("Cannot add Role. The Role's name already exists.")
    role = rights.make_role(name, [known[one] for one in asked], administrative=administrative)
    engine.roles[role.id] = role
    return reply(_role(role), 201)


# --- permissions -----------------------------------------------------------------------------------


def _permission(user: User, grant: Grant) -> Element:
    """Its id is made of what it says: there is one of a kind."""
    return element(
        "permission",
        ref("role", grant.role, "roles"),
        ref("user", user.id, "users"),
        ref("data_center", grant.on, "datacenters"),
        id=rights.permission_id(user, grant),
    )


def _listed(engine: EngineCore, on: str | None) -> Response:
    found = [
        _permission(user, grant) for user in engine.users.values() for grant in user.grants if grant.on == on
    ]
    return reply(element("permissions", found))


def _add(engine: EngineCore, on: str | None) -> Response:
    body = parse_body("permission")
    role, user = attribute(body, "role"), attribute(body, "user")
    if not role or not user:
        raise incomplete("Permission", "role.id, user.id")
    if role not in engine.roles:
        raise entity_not_found(role)
    found = next((one for one in engine.users.values() if one.id == user and one.is_known), None)
    if found is None:
        raise entity_not_found(user)
    grant = Grant(role, on)
    if grant not in found.grants:
        found.grants.append(grant)
    return reply(_permission(found, grant), 201)


@blueprint.get("/permissions")
def system_permissions() -> Response:
    return _listed(core(), None)


@blueprint.post("/permissions")
def add_system_permission() -> Response:
    return _add(core(), None)


@blueprint.get("/datacenters/<identifier>/permissions")
def center_permissions(identifier: str) -> Response:
    return _listed(core(), by_id(core().world.data_centers, identifier).id)


@blueprint.post("/datacenters/<identifier>/permissions")
def add_center_permission(identifier: str) -> Response:
    return _add(core(), by_id(core().world.data_centers, identifier).id)
