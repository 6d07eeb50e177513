"""How old what protects a VM may be, and what is said where nothing tells."""

from __future__ import annotations

from datetime import timedelta

import pytest

from borg_ovirt.config.schema import Policy
from borg_ovirt.jobs.health.age import Limits, limits

H = timedelta(hours=1)


@pytest.mark.parametrize(
    ("max_age", "max_proof_age", "age", "proof_age", "verdict"),
    [
        (26 * H, None, 26 * H, None, "ok"),
        (26 * H, None, 27 * H, None, "old"),
        (26 * H, None, None, None, "old"),
        (None, None, 10_000 * H, None, "no max_age"),
        (None, 48 * H, 10_000 * H, 48 * H, "no max_age"),
        (None, 48 * H, H, 49 * H, "unproven"),
        (26 * H, 48 * H, H, None, "unproven"),
        (26 * H, 48 * H, 27 * H, None, "old"),  # the worse one is told
        (26 * H, 48 * H, H, H, "ok"),
        (0 * H, None, H, None, "old"),
    ],
)
def test_one_judgement(
    max_age: timedelta | None,
    max_proof_age: timedelta | None,
    age: timedelta | None,
    proof_age: timedelta | None,
    verdict: str,
) -> None:
    assert Limits(max_age, max_proof_age).judge(age, proof_age) == verdict


def test_what_is_given_goes_before_the_policy() -> None:
    policy = Policy.model_validate({"max_age": "26h", "verify": {"level": "data"}})
    assert limits(policy) == Limits(26 * H, None, "data")
    assert limits(policy, Limits(0 * H, H)) == Limits(0 * H, H, "data")
    assert limits(Policy()).level == "structure"
