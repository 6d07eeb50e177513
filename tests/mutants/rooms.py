"""All mutants, room by room."""

from __future__ import annotations

from mutants import (
    cli,
    config,
    jobs_backup,
    jobs_comeback,
    jobs_restore,
    jobs_runs,
    jobs_told,
    ovirt_capture,
    ovirt_data,
    ovirt_facts,
    ovirt_session,
    ovirt_tracked,
    pipe_read,
    pipe_write,
    repository_read,
    repository_write,
    shared,
)
from mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *pipe_read.MUTANTS,
    *pipe_write.MUTANTS,
    *repository_write.MUTANTS,
    *repository_read.MUTANTS,
    *ovirt_session.MUTANTS,
    *ovirt_tracked.MUTANTS,
    *ovirt_capture.MUTANTS,
    *ovirt_data.MUTANTS,
    *ovirt_facts.MUTANTS,
    *jobs_backup.MUTANTS,
    *jobs_restore.MUTANTS,
    *jobs_comeback.MUTANTS,
    *jobs_runs.MUTANTS,
    *jobs_told.MUTANTS,
    *cli.MUTANTS,
    *config.MUTANTS,
    *shared.MUTANTS,
)
