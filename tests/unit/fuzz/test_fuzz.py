"""Whatever comes from outside is read or refused, in time, and never ends as a fault of ours."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soaking import COUNTS, Span, seconds

from borg_ovirt.ovirt.facts import checkpoints, vm
from unit.fuzz.targets import ID, TARGETS, Mocked

_TURN = 500
"""Documents between two looks at the clock."""
_ODD = [
    b"9" * 400,
    b"-1",
    b"1e999",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"\xff\xfe",
    b"\0",
    b"\x1b[2J",
    b"<",
    b"&x;",
    b"[" * 2000,
    b"0001-01-01T00:00:00+23:59",
    b"9999-12-31T23:59:59-23:59",
    b"https://[bad",
    b"https://h:99999/x",
    b"? [a, b]",
    b"&x [*x]",
    b'"\\UFFFFFFFF"',
    ID.encode(),
]
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [10**400, -(10**400), "0001-01-01T00:00:00+23:59", "\ud800", ID, "x" * 10_000, 1 << 63]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def broken(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A document that was cut, glued, or had pieces put in; a JSON one also with values exchanged."""
    data = draw(st.sampled_from(seeds))
    if data[:1] in (b"{", b"[") and draw(st.booleans()):
        data = _exchanged(draw, data)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        data = data[:start] + draw(st.sampled_from(_ODD) | st.binary(max_size=6)) + data[end:]
    if draw(st.integers(0, 3)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return data


def _exchanged(draw: st.DrawFn, data: bytes) -> bytes:
    tree = json.loads(data)
    at: Any = tree
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and draw(st.integers(0, 3)):
            at = at[key]
            continue
        at[key] = draw(_JSON)
        break
    return json.dumps(tree).encode()


@pytest.mark.parametrize("name", list(TARGETS))
def test_seeds_are_read(name: str) -> None:
    target, seeds = TARGETS[name]
    for seed in seeds:
        target(seed)


def test_the_engines_seeds_are_understood() -> None:
    """Else the fuzzer of the engine's answers would break what nobody reads anyway."""
    api, one, several, disk, _, _, snapshots, _, _, points, *_ = TARGETS["engine_xml"][1]
    assert vm.look_up(Mocked(one), ID).name == "web01"
    assert [found.tags for found in vm.list_vms(Mocked(several))] == [("t",)]
    assert vm.read_disk(Mocked(disk), ID).size == 1 << 20
    assert len(vm.read_snapshots(Mocked(snapshots), ID)) == 1
    assert [point.state for point in checkpoints.list_checkpoints(Mocked(points), ID)] == ["created"]
    engine = Mocked(api)
    engine._greet()
    assert engine.version == (4, 5, 0)


@pytest.mark.parametrize("name", list(TARGETS))
def test_broken_documents_are_read_or_refused(name: str) -> None:
    _fuzz(name, 60)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", list(TARGETS))
def test_many_broken_documents_are_read_or_refused(name: str) -> None:
    span = Span(seconds("bytes", len(TARGETS)))
    while span.another():
        _fuzz(name, _TURN)
        COUNTS["broken documents"] += _TURN
    print(f"{name}: {_TURN * (span.turns - 1)} broken documents")


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", list(TARGETS))
def test_atheris_finds_nothing_that_is_neither_read_nor_refused(name: str, tmp_path: Path) -> None:
    """It follows the branches of our code, where the other fuzzers only break what is known to be read."""
    length = max(1, int(seconds("branches", len(TARGETS))))
    command = [sys.executable, "-m", "unit.fuzz.branches", name, str(length), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    ended = re.findall(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    assert ended, "it ended by itself"
    COUNTS["documents of atheris"] += int(ended[-1])
    print(f"{name}: {ended[-1]} documents of atheris")


def _fuzz(name: str, examples: int) -> None:
    target, seeds = TARGETS[name]

    @settings(
        max_examples=examples,
        deadline=timedelta(seconds=20),
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(broken(seeds) | st.binary(max_size=200))
    def run(data: bytes) -> None:
        target(data)

    run()
