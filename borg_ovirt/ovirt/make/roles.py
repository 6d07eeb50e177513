"""The documented roles: made by an administrator, and given to the user who backs up."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from borg_ovirt.errors import EngineRefused, UsageError
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import Unclear
from borg_ovirt.ovirt.session.rights import CENTER_ROLE, SYSTEM_ROLE, roles

_TRIES = 3


@dataclass(frozen=True)
class Receiver:
    """Who gets the roles, and where."""

    user: str
    """As at the login: backup@internal."""
    provider: str | None = None
    """Who knows the user; None: found by the profile."""
    data_center: str | None = None
    """None: the only one."""


def give_roles(engine: Engine, to: Receiver) -> Iterator[str]:
    """Make what is missing; yields what was done. What is there already is left as it is.

    Roles were seen to be made so on 4.5.8; for users and permissions the requests are those of the API's
    documentation. Raises `NotAuthorized` where the user of `engine` may not, `UsageError` where data center
    or provider have to be named.
    """
    center = _data_center(engine, to.data_center)
    name = _in_directory(engine, to)
    user_id = yield from _ensure(engine, f"user {name}", lambda: _user(engine, name), _new_user(name))
    permits = _permits(engine)
    places: dict[str, tuple[str, Callable[[Any], Any]]] = {
        SYSTEM_ROLE: ("System", lambda s: s.permissions_service()),
        CENTER_ROLE: (
            f"data center {center.name}",
            lambda s: s.data_centers_service().data_center_service(center.id).permissions_service(),
        ),
    }
    for role, wanted in roles().items():
        on, place = places[role]
        role_id = yield from _ensure(
            engine, f"role {role}", partial(_role, engine, role), _new_role(role, wanted, permits)
        )
        yield from _ensure(
            engine,
            f"permission of {name} on {on}: {role}",
            partial(_permission, engine, place, role_id, user_id),
            _new_permission(place, role_id, user_id),
        )


def _ensure(
    engine: Engine, what: str, find: Callable[[], str | None], add: Callable[[Any], Any]
) -> Generator[str, None, str]:
    """Look, make, look: an answer may be lost after the work was done. Returns the id."""
    made = False
    for _ in range(_TRIES):
        if (found := find()) is not None:
            yield f"{what}: {'made' if made else 'is there already'}"
            return found
        made = True
        try:
            engine.call(f"make the {what}", add, once=True)
        except Unclear:
            continue
    raise EngineRefused(f"The engine took the {what}, and does not show it.", "Try again.")


def _data_center(engine: Engine, name: str | None) -> Any:
    found = engine.call("list the data centers", lambda s: s.data_centers_service().list()) or []
    fitting = [one for one in found if name in (None, one.name)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(sorted(one.name for one in found))
    raise UsageError(
        f"There is no data center {name}." if name else "There are several data centers.",
        f"Name one of these with --data-center: {names}.",
    )


def _in_directory(engine: Engine, to: Receiver) -> str:
    """The user as the engine lists it: the profile of the login is not the name of who knows the user."""
    user, _, profile = to.user.rpartition("@")
    if not user:
        raise UsageError(f"The user {to.user} has no profile.", "Such as backup@internal.")
    if to.provider is not None:
        return f"{user}@{to.provider}"
    listed = engine.call("list the authorization providers", lambda s: s.domains_service().list()) or []
    known = {one.name for one in listed}
    for provider in (f"{profile}-authz", profile):
        if provider in known:
            return f"{user}@{provider}"
    raise UsageError(
        f"Who knows {to.user} cannot be told from the profile {profile}.",
        f"Name one of these with --provider: {', '.join(sorted(known))}.",
    )


def _user(engine: Engine, name: str) -> str | None:
    found = engine.call("list the users", lambda s: s.users_service().list())
    return next((one.id for one in found or () if one.user_name == name), None)


def _role(engine: Engine, name: str) -> str | None:
    found = engine.call("list the roles", lambda s: s.roles_service().list())
    return next((one.id for one in found or () if one.name == name), None)


def _permission(engine: Engine, place: Callable[[Any], Any], role_id: str, user_id: str) -> str | None:
    def same(one: Any) -> bool:
        return bool(one.role and one.user and (one.role.id, one.user.id) == (role_id, user_id))

    found = engine.call("list the permissions", lambda s: place(s).list())
    return next((one.id for one in found or () if same(one)), None)


def _permits(engine: Engine) -> dict[str, str]:
    """Their ids by name, as the newest cluster level tells them: a role names them by id alone."""

    def newest(system: Any) -> Any:
        levels = system.cluster_levels_service()
        last = max(levels.list(), key=lambda level: [int(part) for part in level.id.split(".")])
        return levels.level_service(last.id).get().permits

    return {permit.name: permit.id for permit in engine.call("list the permits", newest)}


def _new_user(name: str) -> Callable[[Any], Any]:
    t = types()
    domain = t.Domain(name=name.rpartition("@")[2])
    return lambda s: s.users_service().add(t.User(user_name=name, domain=domain))


def _new_role(name: str, wanted: list[str], permits: dict[str, str]) -> Callable[[Any], Any]:
    t = types()
    if missing := [permit for permit in wanted if permit not in permits]:
        raise EngineRefused(
            f"The engine knows no permit {', '.join(missing)}.", "Its version is not supported."
        )
    # Administrative: a user role may hold no backup_disk.
    role = t.Role(name=name, administrative=True, permits=[t.Permit(id=permits[one]) for one in wanted])
    return lambda s: s.roles_service().add(role)


def _new_permission(place: Callable[[Any], Any], role_id: str, user_id: str) -> Callable[[Any], Any]:
    t = types()
    permission = t.Permission(role=t.Role(id=role_id), user=t.User(id=user_id))
    return lambda s: place(s).add(permission)
