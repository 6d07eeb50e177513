"""Login and logout: the OAuth token service as the SDK uses it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import timedelta

from flask import Blueprint, Response, request

from ovirtbox.engine import core

blueprint = Blueprint("sso", __name__)


_SCOPE = "ovirt-app-api"
_GRANTED = (
    f"{_SCOPE} ovirt-ext=token-info:authz-search ovirt-ext=token-info:public-authz-search"
    " ovirt-ext=token-info:validate ovirt-ext=token:password-access"
)
_SESSION = timedelta(hours=10)


@blueprint.route("/ovirt-engine/sso/oauth/token", methods=["GET", "POST"])
def token() -> Response:
    """Every refusal is a 400; a token for another scope is given, and good for nothing."""
    engine = core()
    form = request.values
    if request.headers.get("Accept") != "application/json":
        return _refused("invalid_request", "Missing parameter: 'Accept Header'")
    if form.get("grant_type") != "password":
        text = "The authorization grant type is not supported by the authorization server."
        return _refused("unsupported_grant_type", text)
    for name in ("username", "password"):
        if name not in form:
            return _refused("invalid_request", f"Missing parameter: '{name}'")
    problem = engine.log_in(form["username"], form["password"])
    if problem is not None:
        return _refused("access_denied", problem)
    made = secrets.token_urlsafe(64)
    if form.get("scope") == _SCOPE:
        engine.tokens[made] = form["username"]
    ends = engine.clock.now() + _SESSION
    return _json(
        {
            "access_token": made,
            "scope": _GRANTED if form.get("scope") == _SCOPE else form.get("scope", ""),
            "exp": str(int(ends.timestamp() * 1000)),
            "token_type": "bearer",
        }
    )


@blueprint.post("/ovirt-engine/services/sso-logout")
def logout() -> Response:
    """It never fails: unknown, missing and repeated tokens are fine."""
    core().tokens.pop(request.form.get("token", ""), None)
    core().sessions.discard(request.form.get("token", ""))
    return _json({})


def _refused(code: str, text: str) -> Response:
    return _json({"error_code": code, "error": text}, 400)


def _json(body: Mapping[str, str], status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")
