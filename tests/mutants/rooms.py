"""All mutants, room by room."""

from __future__ import annotations

from mutants import cli, config, pipe, repository
from mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *pipe.MUTANTS,
    *repository.MUTANTS,
    *cli.MUTANTS,
    *config.MUTANTS,
)
