"""Whether what protects a VM is young enough, by its policy: one judgement for all that tell of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from borg_ovirt.config.schema import Policy
from borg_ovirt.repository.proof import Level

Verdict = Literal["ok", "old", "unproven", "no max_age"]
"""`old`: the last whole archive is older than it may be. `unproven`: none was proven for longer than may be.
`no max_age`: nothing says how old it may be, so nobody can say that it is well."""


@dataclass(frozen=True)
class Limits:
    """What may be, for one VM."""

    max_age: timedelta | None = None
    max_proof_age: timedelta | None = None
    level: Level = "structure"
    """The least that counts as a proof."""

    def judge(self, age: timedelta | None, proof_age: timedelta | None) -> Verdict:
        """`age` of the last whole archive, and of the last proof; None: there is none that a clock dates."""
        if self.max_age is not None and (age is None or age > self.max_age):
            return "old"
        if self.max_proof_age is not None and (proof_age is None or proof_age > self.max_proof_age):
            return "unproven"
        return "ok" if self.max_age is not None else "no max_age"


NONE = Limits()


def limits(policy: Policy, given: Limits = NONE) -> Limits:
    """Those of a VM's policy; ages that the command line gives go before them."""
    level: Level = "structure" if policy.verify.level == "none" else policy.verify.level
    return replace(
        given,
        max_age=given.max_age if given.max_age is not None else policy.max_age,
        max_proof_age=given.max_proof_age if given.max_proof_age is not None else policy.max_proof_age,
        level=level,
    )
