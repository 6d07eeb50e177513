"""Who may enter, and what a request carries."""

from __future__ import annotations

import ovirtsdk4 as sdk
import pytest
import requests
from ovirtbox.box import Box
from rest_client import Call


def connect(box: Box, **changed: object) -> sdk.Connection:
    given = {
        "url": box.url,
        "username": box.user,
        "password": box.password,
        "ca_file": str(box.ca_file),
        "timeout": 30,
    }
    return sdk.Connection(**{**given, **changed})


def test_the_sdk_logs_in_and_out(box: Box) -> None:
    connection = connect(box)
    assert connection.test()
    assert connection._sso_token in box.engine.tokens
    token = connection._sso_token
    connection.close()
    assert token not in box.engine.tokens


def test_a_wrong_password_is_an_auth_error(box: Box) -> None:
    connection = connect(box, password="wrong")
    with pytest.raises(sdk.AuthError, match="Cannot authenticate user 'admin@internal': Unable to log in"):
        connection.test(raise_exception=True)


def test_a_wrong_ca_is_refused(box: Box, tmp_path: object) -> None:
    connection = connect(box, ca_file="/etc/ssl/certs/ca-certificates.crt")
    with pytest.raises(sdk.Error):
        connection.test(raise_exception=True)


def test_the_token_service_insists_on_its_headers(box: Box) -> None:
    url = box.url.replace("/api", "/sso/oauth/token")
    form = {
        "grant_type": "password",
        "scope": "ovirt-app-api",
        "username": box.user,
        "password": box.password,
    }

    def post(accept: str, **changed: str) -> requests.Response:
        return requests.post(
            url, {**form, **changed}, headers={"Accept": accept}, verify=str(box.ca_file), timeout=30
        )

    good = post("application/json")
    assert good.status_code == 200
    assert good.json()["token_type"] == "bearer"
    assert isinstance(good.json()["exp"], str)
    assert post("*/*").json()["error_code"] == "invalid_request"
    refused = post("application/json", password="no")
    assert (refused.status_code, refused.json()["error_code"]) == (400, "access_denied")
    assert post("application/json", grant_type="x").json()["error_code"] == "unsupported_grant_type"


def test_without_a_token_the_answer_is_html(http: Call) -> None:
    answer = http("GET", "/vms", auth=None, headers={"Authorization": "Bearer nonsense"})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="RESTAPI"'
    assert answer.headers["Content-Type"].startswith("text/html")


def test_the_sdk_logs_in_again_when_its_token_is_gone(box: Box) -> None:
    connection = connect(box)
    assert connection.test()
    box.engine.tokens.clear()
    assert connection.system_service().vms_service().list() == []
    connection.close()


def test_a_token_without_a_password_ends_in_a_plain_error(box: Box) -> None:
    connection = connect(box, username=None, password=None, token="stale")
    with pytest.raises(sdk.Error) as caught:
        connection.system_service().vms_service().list()
    assert caught.value.code is None


def test_the_entry_point_names_the_version(connection: sdk.Connection) -> None:
    api = connection.system_service().get()
    version = api.product_info.version
    assert (version.major, version.minor, version.build, version.revision) == (4, 5, 6, 0)
    assert version.full_version.startswith("4.5.6")
    assert api.special_objects.blank_template.id == "00000000-0000-0000-0000-000000000000"


def test_the_correlation_id_is_cleaned_and_echoed(http: Call) -> None:
    answer = http("GET", "/vms", headers={"Correlation-Id": "ab c!" + "x" * 50})
    assert answer.headers["Correlation-Id"] == "abc" + "x" * 33
    assert http("GET", "/vms?correlation_id=from-query").headers["Correlation-Id"] == "from-query"
    assert len(http("GET", "/vms").headers["Correlation-Id"]) == 36


def test_an_unsupported_version_is_refused(http: Call) -> None:
    assert http("GET", "/vms", headers={"Version": "9"}).status == 400
    assert http("GET", "/v4/vms").status == 200


def test_head_of_the_entry_point(http: Call) -> None:
    answer = http("HEAD", "")
    assert (answer.status, answer.body) == (200, b"")


def test_what_is_not_there_is_said_so(http: Call) -> None:
    assert http("GET", "/nonsense").status == 404
    refused = http("DELETE", "/vms")
    assert refused.status == 405
    assert "GET" in refused.headers["Allow"]


@pytest.mark.parametrize("body", ["<disk", "", "<disk><colour>red</colour></disk>"])
def test_a_body_that_is_no_request_of_the_api(http: Call, body: str) -> None:
    answer = http("POST", "/disks", body)
    assert (answer.status, answer.root.findtext("reason")) == (400, "Request syntactically incorrect.")
    assert (answer.detail or "").endswith("/ovirt-engine/apidoc#services/disks/methods/add")


def test_bodies_of_the_wrong_kind(http: Call) -> None:
    wrong = http("POST", "/disks", "<vm/>")
    assert (wrong.status, "ClassCastException" in (wrong.detail or "")) == (500, True)
    assert http("POST", "/disks", "<disk/>", headers={"Content-Type": "text/plain"}).status == 415


def test_many_requests_share_one_connection(box: Box, http: Call) -> None:
    answers = [http("GET", "/datacenters") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    assert all("close" not in answer.headers.get("Connection", "") for answer in answers)
