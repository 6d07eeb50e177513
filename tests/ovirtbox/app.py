"""The engine's web application: who may enter, how faults leave, and every collection mounted."""

from __future__ import annotations

import base64
import importlib
import logging
import re
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlencode

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from ovirtbox import follow
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import Fault
from ovirtbox.xml import API, XML, UnreadableBody, fault_reply, usage_message

log = logging.getLogger("ovirtbox.rest")

COLLECTIONS = (
    "sso",
    "pki",
    "root",
    "inventory",
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

_UNAUTHORIZED = "<html><head><title>Error</title></head><body>{}</body></html>"
"""Seen on 4.5.8 (facts/ovirt-engine-seen.md, 1.3): the reason is all that the page says."""
_NO_CREDENTIALS = "Unauthorized"
_UNKNOWN_TOKEN = "invalid_grant: The provided authorization grant for the auth code has expired."
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
    app.after_request(_leave)
    app.register_error_handler(Fault, fault_reply)
    app.register_error_handler(UnreadableBody, lambda error: usage_message(str(error)))
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
    return core().faults_injection.before(request)


def _enter() -> Response | None:
    """Correlation id, API version, authentication."""
    given = request.headers.get("Correlation-Id") or request.args.get("correlation_id") or ""
    g.correlation_id = re.sub(r"[^0-9a-zA-Z_-]", "", given)[:36] or str(uuid.uuid4())
    if not request.path.startswith(API):
        return None
    version = request.headers.get("Version", "4")
    if version not in ("3", "4"):
        raise Fault(400, f"Version {version} of the API isn't supported", "Invalid version")
    refused = None if request.environ.get(INTERNAL) else _refusal(core())
    if refused is not None:
        page = _UNAUTHORIZED.format(refused)
        answer = Response(page, status=401, content_type="text/html;charset=UTF-8")
        answer.headers["WWW-Authenticate"] = 'Basic realm="RESTAPI"'
        return answer
    return None


def _refusal(engine: EngineCore) -> str | None:
    """Why the user may not enter."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        if value not in engine.tokens:
            return _UNKNOWN_TOKEN
        if value not in engine.sessions:
            engine.sessions &= engine.tokens
            if engine.max_sessions and len(engine.sessions) >= engine.max_sessions:
                return _TOO_MANY.format(engine.max_sessions)
            engine.sessions.add(value)
        return None
    if scheme.lower() == "basic":
        try:
            if base64.b64decode(value).decode() == f"{engine.user}:{engine.password}":
                return None
        except ValueError:
            pass
    return _NO_CREDENTIALS


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
        answer = Response(b"", 405, content_type=XML)
        answer.headers["Allow"] = ", ".join(error.valid_methods or ())  # type: ignore[attr-defined]
        return answer
    return fault_reply(Fault(error.code or 500, f"Could not find resource for full path: {request.path}"))


def _broken(error: Exception) -> Response:
    """A bug of the box: a 500 as a real engine would give, and remembered so that tests fail on it."""
    log.exception("%s %s failed", request.method, request.path)
    core().bugs.append(f"{request.method} {request.path}: {error!r}")
    return fault_reply(Fault(500, f"HTTP 500 Internal Server Error: {error!r}"))
