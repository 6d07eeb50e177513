"""/jobs: what runs, and what ran a short while ago."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ovirtbox import jobs
from ovirtbox.engine import core
from ovirtbox.model import Job
from ovirtbox.rest.lists import by_id, find_rows
from ovirtbox.rest.root import USER_ID
from ovirtbox.search import Fields, sql_error
from ovirtbox.xml import API, Element, element, href, leaf, link, ref, reply

blueprint = Blueprint("jobs", __name__, url_prefix=API)

FIELDS: Fields[Job] = Fields(
    {"correlation_id": lambda job: [job.correlation_id or ""]}, text=("correlation_id",)
)


def _job(job: Job) -> Element:
    path = ("jobs", job.id)
    return element(
        "job",
        leaf("auto_cleared", True),
        leaf("description", job.description),
        leaf("end_time", job.end),
        leaf("external", False),
        leaf("last_updated", job.end or job.start),
        leaf("start_time", job.start),
        leaf("status", job.status),
        ref("owner", USER_ID, "users"),
        link("steps", *path, "steps"),
        id=job.id,
        href=href(*path),
    )


@blueprint.get("/jobs")
def list_jobs() -> Response:
    engine = core()
    asked = request.args.get("search", "").strip()
    if asked and not asked.lower().startswith("correlation_id"):
        raise sql_error("statementcallback; bad sql grammar [select * from (select * from job where")
    with engine.world.lock:
        jobs.clean(engine)
        return reply(element("jobs", [_job(row) for row in find_rows(engine.world.jobs.values(), FIELDS)]))


@blueprint.get("/jobs/<identifier>")
def get_job(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        jobs.clean(engine)
        return reply(_job(by_id(engine.world.jobs, identifier)))


@blueprint.get("/jobs/<identifier>/steps")
def steps(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        job = by_id(engine.world.jobs, identifier)
        step = element(
            "step",
            leaf("description", job.description),
            leaf("end_time", job.end),
            leaf("number", 0),
            leaf("start_time", job.start),
            leaf("status", job.status),
            leaf("type", "executing"),
            ref("job", job.id, "jobs"),
            id=job.id,
            href=href("jobs", job.id, "steps", job.id),
        )
        return reply(element("steps", step))
