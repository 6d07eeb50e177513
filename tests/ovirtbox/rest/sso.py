"""Login and logout: the OAuth token service as the SDK uses it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from flask import Blueprint, Response, request

from ovirtbox.engine import core

blueprint = Blueprint("sso", __name__)


@blueprint.post("/ovirt-engine/sso/oauth/token")
def token() -> Response:
    engine = core()
    form = request.form
    if request.headers.get("Accept") != "application/json":
        return _refused("invalid_request", "Missing parameter: 'Accept'", 400)
    for name in ("grant_type", "scope", "username", "password"):
        if not form.get(name):
            return _refused("invalid_request", f"Missing parameter: '{name}'", 400)
    if form["grant_type"] != "password":
        return _refused("unsupported_grant_type", f"{form['grant_type']} is not supported", 400)
    if form["username"] != engine.user or form["password"] != engine.password:
        who = form["username"].rpartition("@")[0] or form["username"]
        return _refused(
            "access_denied",
            f"Cannot authenticate user '{who}@N/A': The user name or password is incorrect..",
            400,
        )
    made = secrets.token_urlsafe(64)
    engine.tokens.add(made)
    return _json(
        {
            "access_token": made,
            "scope": form["scope"],
            "exp": "9223372036854775807",
            "token_type": "bearer",
        }
    )


@blueprint.post("/ovirt-engine/services/sso-logout")
def logout() -> Response:
    core().tokens.discard(request.form.get("token", ""))
    core().sessions.discard(request.form.get("token", ""))
    return _json({})


def _refused(code: str, text: str, status: int) -> Response:
    return _json({"error_code": code, "error": text}, status)


def _json(body: Mapping[str, str], status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json;charset=UTF-8")
