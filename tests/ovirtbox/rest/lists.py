"""What all collections share: search, max, case, and looking a thing up by its id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from flask import request

from ovirtbox.faults import Fault, entity_not_found, not_found
from ovirtbox.search import Fields, search
from ovirtbox.xml import Element, attribute, guid, path_id, query_flag, query_number, text

T = TypeVar("T")


def find_rows(rows: Iterable[T], fields: Fields[T]) -> list[T]:
    """The rows that the request's `search`, `max` and `case_sensitive` ask for; of `max=0` none."""
    return search(
        rows,
        request.args.get("search"),
        fields,
        maximum=limit(),
        case_sensitive=query_flag("case_sensitive"),
    )


def limit() -> int | None:
    """0 gives no row, what is no number is ignored."""
    maximum = query_number("max")
    if maximum is not None and maximum < 0:
        raise Fault(400, f"illegal max count value for query : {maximum}")
    return maximum


def by_id(table: Mapping[str, T], identifier: str) -> T:
    """An entity of the path; unknown or malformed: 404 without a body."""
    found = table.get(path_id(identifier))
    if found is None:
        raise not_found()
    return found


def by_reference(table: Mapping[str, T], body: Element | None, path: str, label: str) -> T | None:
    """An entity that a body names by id, or by name where it has one; None if it names none."""
    identifier = attribute(body, path)
    if identifier:
        found = table.get(guid(identifier))
        if found is None:
            raise entity_not_found(_MISSING.get(label, "{id}").format(id=identifier))
        return found
    name = text(body, f"{path}/name")
    if not name:
        return None
    for candidate in table.values():
        if getattr(candidate, "name", None) == name:
            return candidate
    raise entity_not_found(f"Cluster: name={name}" if label == "Cluster" else name)


_MISSING = {"Cluster": "GetClusterById"}
"""What is told of an unknown id in a body: the id alone, but for clusters."""


def wants_all_content() -> bool:
    """Asked for in the query, or in the header that the SDK sends along."""
    header = request.headers.get("All-Content", "").lower() in ("true", "t", "yes", "y", "1")
    return query_flag("all_content", header)
