"""The engine's CA certificate, for anybody who asks."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ovirtbox.engine import core

blueprint = Blueprint("pki", __name__)


@blueprint.get("/ovirt-engine/services/pki-resource")
def resource() -> Response:
    if request.args.get("resource") != "ca-certificate":
        return Response(status=404)
    pem = (core().world.root / "pki" / "ca.pem").read_text()
    return Response(pem, content_type="application/x-x509-ca-cert")
