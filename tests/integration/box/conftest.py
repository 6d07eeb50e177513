"""A box for each module, the real SDK connected to it, and plain HTTP where shapes matter."""

from __future__ import annotations

from collections.abc import Iterator

import ovirtsdk4 as sdk
import pytest
import requests
from ovirtbox.box import Box
from ovirtbox.fixtures import box  # noqa: F401 (a fixture)
from rest_client import Answer, Call


@pytest.fixture
def connection(box: Box) -> Iterator[sdk.Connection]:  # noqa: F811
    made = sdk.Connection(
        url=box.url, username=box.user, password=box.password, ca_file=str(box.ca_file), timeout=60
    )
    yield made
    made.close()


@pytest.fixture
def api(connection: sdk.Connection) -> sdk.services.SystemService:
    return connection.system_service()


@pytest.fixture
def http(box: Box) -> Iterator[Call]:  # noqa: F811
    """`http("GET", "/vms", body=None)`: one request, with Basic authentication unless told otherwise."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(box.ca_file)

        def call(method: str, path: str, body: str | None = None, **more: object) -> Answer:
            more.setdefault("auth", (box.user, box.password))
            headers = {"Content-Type": "application/xml", **(more.pop("headers", None) or {})}  # type: ignore[dict-item]
            done = session.request(
                method,
                box.url + path,
                data=body,
                headers=headers,
                timeout=60,
                **more,  # type: ignore[arg-type]
            )
            return Answer(done.status_code, dict(done.headers), done.content)

        yield call
