"""The engine's search language, as far as clients need it: terms, and/or, sortby, page.

A query that does not parse finds nothing: the engine logs it and answers with an empty list. One that parses
and that the database refuses (an id that is none) is a bad request.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ovirtbox.faults import Fault

log = logging.getLogger("ovirtbox.search")

T = TypeVar("T")
Values = Callable[[T], Iterable[object]]

DEFAULT_PAGE = 100

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<field>[A-Za-z_][\w.]*)\s*(?P<op>!=|<=|>=|=|<|>)\s*(?P<value>"[^"]*"|[^\s"]+)
      | (?P<quoted>"[^"]*")
      | (?P<word>[^\s"]+)
    )""",
    re.VERBOSE,
)


class BadSearch(Exception):
    """The query is no sentence of the language."""


@dataclass
class Fields(Generic[T]):
    """What can be searched in one type: a field gives all values that it has for an entity."""

    named: Mapping[str, Values[T]]
    text: Sequence[str]
    """The fields that a bare word looks into."""
    cross: Mapping[str, Values[T]] = field(default_factory=dict)
    """Fields of related types: `storage.name`, `vms.name` ..."""
    sensitive: frozenset[str] = frozenset()
    """Fields whose case matters whatever is asked for."""
    ids: frozenset[str] = frozenset()
    """Fields that the database compares as UUIDs."""

    def get(self, name: str) -> Values[T]:
        found = self.named.get(name.lower()) or self.cross.get(name.lower())
        if found is None:
            raise BadSearch(f"no field {name}")
        return found


@dataclass
class _Query(Generic[T]):
    any_of: list[list[Callable[[T], bool]]]
    """`and` binds tighter than `or`."""
    sort: str | None = None
    descending: bool = False
    page: int | None = None


def search(
    rows: Iterable[T],
    query: str | None,
    fields: Fields[T],
    *,
    maximum: int | None = None,
    case_sensitive: bool = False,
) -> list[T]:
    """The rows that a query finds, in its order and page; at most `maximum` of them."""
    found = list(rows)
    limit = maximum if maximum is not None and maximum >= 0 else None
    if not query or not query.strip():
        return found[:limit]
    try:
        parsed = _parse(query, fields, case_sensitive)
    except BadSearch as error:
        log.warning("Search %r is not understood (%s): nothing is found", query, error)
        return []
    if parsed.any_of:
        found = [row for row in found if any(all(test(row) for test in tests) for tests in parsed.any_of)]
    if parsed.sort is not None:
        values = fields.get(parsed.sort)
        found.sort(key=lambda row: [_sortable(v) for v in values(row)], reverse=parsed.descending)
    if parsed.page is not None:
        size = limit if limit is not None else DEFAULT_PAGE
        return found[(parsed.page - 1) * size : parsed.page * size]
    return found[:limit]


def _sortable(value: object) -> tuple[int, float, str]:
    if isinstance(value, (int, float)):
        return (0, float(value), "")
    return (1, 0.0, str(value).lower())


def _tokens(query: str) -> list[re.Match[str]]:
    tokens, position = [], 0
    while query[position:].strip():
        match = _TOKEN.match(query, position)
        if match is None:
            raise BadSearch(f"near {query[position:]!r}")
        tokens.append(match)
        position = match.end()
    return tokens


def _parse(query: str, fields: Fields[T], case_sensitive: bool) -> _Query[T]:
    tokens = _tokens(query)
    parsed: _Query[T] = _Query([])
    tests: list[Callable[[T], bool]] = []
    expect_term = True
    while tokens:
        token = tokens.pop(0)
        word = (token["word"] or "").lower()
        if word in ("sortby", "page"):
            if expect_term and (parsed.any_of or tests):
                raise BadSearch("a term is missing")
            expect_term = False
            if parsed.page is not None:
                raise BadSearch("page is the last word")
            _parse_tail(word, tokens, parsed, fields)
        elif word in ("and", "or"):
            if expect_term:
                raise BadSearch("a term is missing")
            if word == "or":
                parsed.any_of.append(tests)
                tests = []
            expect_term = True
        else:
            if not expect_term and token["field"] is None:
                raise BadSearch("two words with nothing between them")
            tests.append(_term(token, fields, case_sensitive))
            expect_term = False
    if expect_term:
        raise BadSearch("a term is missing")
    if tests:
        parsed.any_of.append(tests)
    return parsed


def _parse_tail(word: str, tokens: list[re.Match[str]], parsed: _Query[T], fields: Fields[T]) -> None:
    if not tokens or not tokens[0]["word"]:
        raise BadSearch(f"{word} wants a value")
    value = tokens.pop(0)["word"]
    if word == "page":
        if not value.isdigit() or int(value) < 1:
            raise BadSearch("page wants a number")
        parsed.page = int(value)
        return
    fields.get(value)
    parsed.sort = value
    if tokens and (tokens[0]["word"] or "").lower() in ("asc", "desc"):
        parsed.descending = tokens.pop(0)["word"].lower() == "desc"
    elif tokens:
        raise BadSearch("only a direction may follow the field of sortby")


def _term(token: re.Match[str], fields: Fields[T], case_sensitive: bool) -> Callable[[T], bool]:
    if token["field"] is None:
        wanted = (token["quoted"] or token["word"]).strip('"')
        anywhere = _like(f"*{wanted}*", case_sensitive)
        columns = [fields.get(name) for name in fields.text]
        return lambda row: any(anywhere.fullmatch(str(v)) for column in columns for v in column(row))
    values = fields.get(token["field"])
    wanted, operator = token["value"].strip('"'), token["op"]
    if operator in ("=", "!="):
        name = token["field"].lower()
        if name in fields.ids:
            _check_id(wanted)
        pattern = _like(wanted, case_sensitive or name in fields.sensitive)
        positive = operator == "="
        return lambda row: any(pattern.fullmatch(str(v)) for v in values(row)) is positive
    return lambda row: any(_compare(v, operator, wanted) for v in values(row))


def _check_id(text: str) -> None:
    try:
        uuid.UUID(text)
    except ValueError:
        raise sql_error("statementcallback; sql [select * from ((select vms.*") from None


def sql_error(detail: str) -> Fault:
    """The database's own words, in lower case."""
    return Fault(400, detail)


def _like(text: str, case_sensitive: bool) -> re.Pattern[str]:
    pattern = ".*".join(re.escape(part) for part in text.split("*"))
    return re.compile(pattern, re.DOTALL if case_sensitive else re.DOTALL | re.IGNORECASE)


def _compare(value: object, operator: str, wanted: str) -> bool:
    left: float | str
    right: float | str
    try:
        left, right = float(str(value)), float(wanted)
    except ValueError:
        left, right = str(value), wanted
    if operator == "<":
        return left < right  # type: ignore[operator]
    if operator == "<=":
        return left <= right  # type: ignore[operator]
    if operator == ">":
        return left > right  # type: ignore[operator]
    return left >= right  # type: ignore[operator]
