"""Sampling finds a bitmap that lies, and costs what it says."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import UsageError
from borg_ovirt.pipe.plan import REUSE, make_plan, plan_reuse
from borg_ovirt.pipe.sample import Sampling, check_sample, choose_sample

from .fakes import Base, Source


@pytest.mark.parametrize(
    ("text", "rate"), [("5%", 0.05), ("0.1 %", 0.001), ("0", 0.0), ("0%", 0.0), ("all", 1.0), ("100%", 1.0)]
)
def test_what_users_write(text: str, rate: float) -> None:
    assert Sampling.parse(text).rate == pytest.approx(rate)


@pytest.mark.parametrize("text", ["5%", "0.1%", "0", "all", "12.5%"])
def test_it_is_told_as_it_was_written(text: str) -> None:
    assert str(Sampling.parse(text)) == text


@pytest.mark.parametrize("text", ["", "5", "-1%", "101%", "many", "nan%", "%"])
def test_what_users_should_not_write(text: str) -> None:
    with pytest.raises(UsageError):
        Sampling.parse(text)


@given(
    st.binary(min_size=1, max_size=400).map(lambda b: bytes(x % 2 for x in b)),
    st.integers(1, 9),
    st.floats(0, 1),
    st.integers(0, 20),
    st.booleans(),
)
def test_the_sample_is_of_the_size_asked(
    data: bytes, cell: int, rate: float, minimum: int, known: bool
) -> None:
    base = Base(data, cell)
    half = len(data) // 2
    extents = [e for e in (Extent(0, half, False, False), Extent(half, len(data) - half, False)) if e.length]
    plan = make_plan(len(data), cell, extents, base)
    candidates = [i for i, kind in enumerate(plan.kinds) if kind == REUSE or known]
    cells = choose_sample(plan, Sampling(rate, minimum), known=known)
    assert not (known and rate) or cells[0] == 0
    assert cells == sorted(set(cells))
    assert set(cells) <= set(candidates)
    assert len(cells) >= min(len(candidates), minimum if rate else 0)
    assert len(cells) >= rate * len(candidates)
    if rate == 0:
        assert not cells
    else:
        assert len(cells) <= max(minimum, rate * len(candidates) + 1) + known


def test_all_and_default() -> None:
    base = Base(b"x" * 4 * 100, 4)
    plan = make_plan(400, 4, [Extent(0, 400, False, False)], base)
    assert choose_sample(plan, Sampling.parse("all")) == list(range(100))
    assert len(choose_sample(plan, Sampling())) == 8
    samples = [choose_sample(plan, Sampling()) for _ in range(3)]
    assert samples[0] != samples[1] or samples[1] != samples[2], "a guest could foresee the sample"


@given(st.sets(st.integers(0, 24)), st.sets(st.integers(0, 24)), st.integers(1, 4))
def test_cells_that_changed_behind_the_bitmap_are_named(
    changed: set[int], sampled: set[int], readers: int
) -> None:
    old = b"".join(bytes([i % 5]) * 4 for i in range(25))[:98]
    now = bytearray(old)
    for index in changed:
        now[index * 4 + 1] ^= 0x80
    base = Base(old, 4)
    plan = make_plan(98, 4, [Extent(0, 98, False, False)], base)
    source = Source(bytes(now))
    wrong = check_sample(plan, base, sorted(sampled), source, readers=readers)
    assert wrong == sorted(changed & sampled)
    assert source.bytes_served == sum(plan.cell_size(i) for i in sampled)
    assert threading.get_ident() not in base.digested_on
    assert base.compared_on <= {threading.get_ident()}


def test_a_cell_that_became_zeros_is_a_mismatch() -> None:
    base = Base(b"x" * 8, 4)
    plan = make_plan(8, 4, [Extent(0, 8, False, False)], base)
    assert check_sample(plan, base, [0, 1], Source(b"x" * 4 + bytes(4))) == [1]


@pytest.mark.parametrize("known", [False, True])
def test_a_cell_that_is_no_longer_zeros_is_found(known: bool) -> None:
    """Data that nobody calls dirty, where the base has zeros: the tracking lied, or they are misplaced."""
    base = Base(b"x" * 4 + bytes(4), 4)
    plan = plan_reuse(base, "a layer") if known else make_plan(8, 4, [Extent(0, 8, False, False)], base)
    cells = choose_sample(plan, Sampling.parse("all"), known=known)
    assert cells == [0, 1]
    assert check_sample(plan, base, cells, Source(b"x" * 4 + b"data")) == [1]
