"""The engine's web application: who may enter, how faults leave, and every collection mounted."""

from __future__ import annotations

import base64
import importlib
import logging
import re
import uuid
import xml.etree.ElementTree as ET
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from ovirtbox import apimodel, follow, rights
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import Fault
from ovirtbox.xml import API, HTML, empty, fault_reply

log = logging.getLogger("ovirtbox.rest")

COLLECTIONS = (
    "sso",
    "pki",
    "root",
    "inventory",
    "beside",
    "roles",
    "vms",
    "templates",
    "attachments",
    "disks",
    "disksnapshots",
    "snapshots",
    "transfers",
    "backups",
    "checkpoints",
    "events",
    "jobs",
    "tags",
)

INTERNAL = "ovirtbox.internal"
"""In the WSGI environment of a request that the engine makes to itself (follow)."""

_PAGE = "<html><head><title>Error</title></head><body>{}</body></html>"
_NO_LOGIN = "access_denied: The user is not authorized to perform login"
_EXPIRED = "invalid_grant: The provided authorization grant for the auth code has expired."
_TOO_MANY = "Unable to log in because the maximum number of allowed sessions {} is exceeded"
"""Seen from "because" on (4.5.8); the login itself works, each request is refused."""


def make_app(engine: EngineCore) -> Flask:
    app = Flask("ovirtbox")
    app.config["engine"] = engine
    app.url_map.strict_slashes = False
    for name in COLLECTIONS:
        app.register_blueprint(importlib.import_module(f"ovirtbox.rest.{name}").blueprint)
    app.wsgi_app = _PathRules(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(_inject)
    app.before_request(_enter)
    app.after_request(follow.inline_links)
    app.after_request(_check_model)
    app.after_request(_leave)
    app.register_error_handler(Fault, fault_reply)
    app.register_error_handler(HTTPException, _unknown_route)
    app.register_error_handler(Exception, _broken)
    return app


class _PathRules:
    """`/api/v4/...` is `/api/...`; matrix parameters (`/vms;max=1`) join the query."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = re.sub(rf"^{API}/v4(?=/|$)", API, environ["PATH_INFO"])
        segments, matrix = [], []
        for segment in path.split("/"):
            name, *parameters = segment.split(";")
            segments.append(name)
            matrix += [pair for text in parameters for pair in parse_qsl(text, keep_blank_values=True)]
        environ["PATH_INFO"] = "/".join(segments)
        if matrix:
            query = [environ.get("QUERY_STRING", ""), urlencode(matrix)]
            environ["QUERY_STRING"] = "&".join(part for part in query if part)
        return self._inner(environ, start_response)


def _inject() -> Response | None:
    if request.environ.get(INTERNAL):
        return None
    return core().faults_injection.before(request, only_asks=rights.only_asks(core()))


def _enter() -> Response | None:
    """Correlation id, API version, authentication."""
    given = request.headers.get("Correlation-Id") or request.args.get("correlation_id") or ""
    g.correlation_id = re.sub(r"[^0-9a-zA-Z_-]", "", given)[:36] or str(uuid.uuid4())
    if not request.path.startswith(API):
        return None
    version = request.headers.get("Version", "4")
    if version != "4":
        return Response(_PAGE.format("Bad Request"), 405 if version == "3" else 400, content_type=HTML)
    if request.environ.get(INTERNAL):
        g.user = request.environ[INTERNAL]
        rights.check(core())
        return None
    name, refusal = _who(core())
    if refusal is not None:
        answer = Response(_PAGE.format(refusal), status=401, content_type=HTML)
        answer.headers["WWW-Authenticate"] = 'Basic realm="RESTAPI"'
        del g.correlation_id  # it is echoed by the API, which this request does not reach
        return answer
    g.user = core().users[name]
    rights.check(core())
    return None


def _who(engine: EngineCore) -> tuple[str, str | None]:
    """The name of the user who asks, or the words of the refusal."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        name = engine.tokens.get(value, "")
        if name not in engine.users:
            return "", _EXPIRED
        if not rights.may_log_in(engine, engine.users[name]):
            return name, _NO_LOGIN
        return name, None if engine.begin_session(value) else _TOO_MANY.format(engine.max_sessions)
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return "", "Unauthorized"
        problem = engine.log_in(name, password)
        return name, None if problem is None else f"access_denied: {problem}"
    return "", "Unauthorized"


def _check_model(answer: Response) -> Response:
    """Whatever the API's model does not know in an answer is a bug of the box."""
    if answer.mimetype == "application/xml" and request.path.startswith(API):
        for problem in apimodel.strange(ET.fromstring(answer.get_data())):
            core().bugs.append(f"{request.method} {request.path}: the model does not know {problem}")
    return answer


def _leave(answer: Response) -> Response:
    if "correlation_id" in g:
        answer.headers["Correlation-Id"] = g.correlation_id
    return answer


def _unknown_route(error: HTTPException) -> Response:
    """A path or a method that this engine does not have."""
    log.warning("Not implemented: %s %s -> %s", request.method, request.path, error.code)
    if not request.path.startswith(API):
        return Response(f"<html><body>{error.name}</body></html>", error.code, content_type="text/html")
    if error.code == 405:
        answer = empty(405)
        answer.headers["Allow"] = ", ".join(error.valid_methods or ())  # type: ignore[attr-defined]
        return answer
    address = f"https://{request.host}{request.path.replace(API, f'{API}/v4', 1)}"
    text = f"RESTEASY003210: Could not find resource for full path: {address}"
    return Response(text, error.code or 500, content_type="text/html")


def _broken(error: Exception) -> Response:
    """A bug of the box: a 500 as a real engine would give, and remembered so that tests fail on it."""
    log.exception("%s %s failed", request.method, request.path)
    core().bugs.append(f"{request.method} {request.path}: {error!r}")
    return fault_reply(Fault(500, f"HTTP 500 Internal Server Error: {error!r}"))
