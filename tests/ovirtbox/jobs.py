"""Jobs: what the engine shows of a long command while it runs, and for a while after."""

from __future__ import annotations

from flask import g, has_request_context

from ovirtbox.engine import EngineCore
from ovirtbox.model import Job, new_id

KEEP_FINISHED = 10 * 60.0
KEEP_FAILED = 60 * 60.0


def start(engine: EngineCore, description: str) -> Job:
    correlation = g.get("correlation_id") if has_request_context() else None
    job = Job(new_id(), description, engine.clock.now(), correlation, updated=engine.clock.monotonic())
    with engine.world.lock:
        engine.world.jobs[job.id] = job
    return job


def finish(engine: EngineCore, job: Job, ok: bool = True) -> None:
    job.status = "finished" if ok else "failed"
    job.end = engine.clock.now()
    job.updated = engine.clock.monotonic()


def clean(engine: EngineCore) -> None:
    """Forget what is over for long enough."""
    with engine.world.lock:
        for job in list(engine.world.jobs.values()):
            keep = {"finished": KEEP_FINISHED, "failed": KEEP_FAILED}.get(job.status)
            if keep is not None and engine.clock.aged(job.updated, keep):
                del engine.world.jobs[job.id]
