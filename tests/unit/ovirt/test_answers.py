"""The daemon's answers: read as the protocol has them, else refused; in bounded memory, and never guessed."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import TransferFailed, UsageError
from borg_ovirt.ovirt.data import answers
from borg_ovirt.ovirt.data.imageio_connection import Address
from borg_ovirt.ovirt.session.engine import EngineAccess


def read(data: bytes, step: int | None = None) -> list[Extent]:
    stream = io.BytesIO(data)
    return list(answers.extents(lambda size: stream.read(step or size), "disk x"))


@given(st.lists(st.tuples(st.integers(1, 1 << 40), st.booleans(), st.booleans())), st.integers(1, 200))
def test_extents_are_read_wherever_the_blocks_end(runs: list[tuple[int, bool, bool]], step: int) -> None:
    expected, items, at = [], [], 0
    for length, zero, dirty in runs:
        expected.append(Extent(at, length, zero, dirty))
        items.append({"start": at, "length": length, "zero": zero, "dirty": dirty, "more": {"a": [1]}})
        at += length
    assert read(json.dumps(items).encode(), step) == expected


GOOD: dict[str, Any] = {"start": 0, "length": 10, "zero": False}


@pytest.mark.parametrize(
    "value",
    [
        {"zero": "false"},
        {"zero": None},
        {"zero": 0},
        {"dirty": "no"},
        {"dirty": None},
        {"start": "0"},
        {"start": 0.0},
        {"start": True},
        {"start": -1},
        {"length": 10**400},
        {"length": 1 << 63},
        {"length": -1},
        {"length": None},
        {"start": 5},
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_refused_and_not_converted(value: dict[str, Any]) -> None:
    """A word in place of false would turn data into zeros."""
    with pytest.raises(TransferFailed):
        read(json.dumps([GOOD | value]).encode())


@pytest.mark.parametrize("data", [b"{}", b"null", b"7", b"[1]", b"[[]]", b'["x"]', b"[null]", b"\xff", b"]"])
def test_what_is_no_list_of_objects_is_refused(data: bytes) -> None:
    with pytest.raises(TransferFailed):
        read(data)


@pytest.mark.parametrize(
    "data", [b"", b"[", b"[{", b'[{"start": 0, "length"', json.dumps([GOOD]).encode()[:-1]]
)
def test_a_list_that_breaks_off_is_worth_another_try(data: bytes) -> None:
    with pytest.raises(answers.BrokeOff):
        read(data)


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b"[{" * 100_000, b'[{"a":' + b"[" * 100_000, b'[{"a": "' + b"x" * 10_000_000]
)
def test_depth_and_length_take_no_memory(data: bytes) -> None:
    """A hundred thousand brackets took twenty gigabytes."""
    tracemalloc.start()
    try:
        with pytest.raises(TransferFailed):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_list_of_nothing_ends() -> None:
    def forever(size: int) -> bytes:
        return (
            b'[{"start": 0, "length": 0, "zero": false},' + b'{"start": 0, "length": 0, "zero": false},' * 99
        )

    with pytest.raises(TransferFailed, match="is empty"):
        list(answers.extents(forever, "disk x"))


@pytest.mark.parametrize(
    "reply",
    [
        [],
        7,
        "x",
        {"features": 7},
        {"max_readers": "8"},
        {"max_readers": 0},
        {"max_writers": 10**400},
        {"unix_socket": 1},
    ],
    ids=str,
)
def test_features_of_another_kind_are_refused(reply: Any) -> None:
    with pytest.raises(TransferFailed, match="disk x"):
        answers.features(reply, "disk x")


@pytest.mark.parametrize("data", [b"[" * 100_000, b"{", b"\xff", b"9" * 5000])
def test_json_that_is_none_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"deep|Expecting|decode|digits"):
        answers.parse(data)


@pytest.mark.parametrize(
    "url",
    [
        "https://[bad",
        "https://h:99999/x",
        "https:///x",
        "https://h/\u00e9",
        "https://" + "a" * 70,
        "https://.h",
    ],
)
def test_an_address_that_is_none_is_told_without_showing_it(url: str) -> None:
    with pytest.raises(TransferFailed) as told:
        Address.of_url("direct", url)
    assert url not in str(told.value)
    with pytest.raises(UsageError, match="is no address of an engine"):
        _ = EngineAccess(url, "u", "p").api_url


@pytest.mark.parametrize("url", ["//host/a://b", "ftp://host/x", "http+unix://x"])
def test_an_engine_is_asked_over_http_alone(url: str) -> None:
    with pytest.raises(UsageError, match="is no address of an engine"):
        _ = EngineAccess(url, "u", "p").api_url
