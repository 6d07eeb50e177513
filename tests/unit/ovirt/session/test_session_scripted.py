"""A session with the engine: asked again while it is away, never twice for what must not be done twice."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ovirtbox.pki import Pki, make_pki
from unit.ovirt.script import HANG_UP, HASTY, Answer, Script, fault, version

from borg_ovirt.errors import (
    CertificateError,
    EngineRefused,
    EngineUnreachable,
    LoginFailed,
    NotAuthorized,
    Timeout,
    UsageError,
)
from borg_ovirt.ovirt.facts.inventory import image_disks
from borg_ovirt.ovirt.session.ca import engine_certificate_end, fetch_ca, fingerprint, pin_ca
from borg_ovirt.ovirt.session.certificate import certificate_end
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.events import EventMark, post_event
from borg_ovirt.ovirt.session.faults import NotFound, Unclear, is_lock
from borg_ovirt.ovirt.session.probes import backup_rights, newest_event, read_rights
from borg_ovirt.ovirt.session.sense import Bounded
from borg_ovirt.ovirt.session.waiting import Patience

PAGE = "/ovirt-engine/services/health"
TOKEN, LOGOUT = "/ovirt-engine/sso/oauth/token", "/ovirt-engine/services/sso-logout"
AWAY = Answer(502, "<html>bad gateway</html>", "text/html")
DISK = "/disks/d-1"
FOUND = "<disk id='d-1'><alias>root</alias></disk>"


def look(engine: Engine, **options: object) -> object:
    return engine.call("read the disk", lambda s: s.disks_service().disk_service("d-1").get(), **options)  # type: ignore[arg-type]


def make(engine: Engine) -> object:
    import ovirtsdk4.types as types

    return engine.call("make a disk", lambda s: s.disks_service().add(types.Disk(alias="x")), once=True)


def test_an_answer_without_end_is_broken_off(
    script: Script, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bounded.__init__, "__defaults__", (20_000,))
    script.on("GET", DISK, f"<disk id='d-1'><alias>{'x' * 30_000}</alias></disk>")
    with pytest.raises(EngineUnreachable, match="it has no end"):
        look(engine)


# -- requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble", [AWAY, Answer(503, "busy", "text/html"), Answer(429, "", "text/html"), HANG_UP]
)
def test_an_engine_that_is_away_is_asked_again(script: Script, engine: Engine, trouble: Answer) -> None:
    script.on("GET", DISK, trouble, trouble, FOUND)
    assert look(engine).alias == "root"  # type: ignore[attr-defined]


def test_but_not_for_ever(script: Script, engine: Engine) -> None:
    script.on("GET", DISK, AWAY)
    with pytest.raises(EngineUnreachable, match="Cannot read the disk"):
        look(engine)


@pytest.mark.parametrize("trouble", [AWAY, HANG_UP])
def test_what_must_not_be_done_twice_is_asked_once(script: Script, engine: Engine, trouble: Answer) -> None:
    script.on("POST", "/disks", trouble)
    with pytest.raises(Unclear):
        make(engine)
    # A connection that breaks is libcurl's to try again; an answer, whatever it says, is one.
    assert len(script.asked("POST", "/disks")) == (1 if trouble is AWAY else 2) or trouble is HANG_UP


def test_what_was_surely_not_done_is_asked_again(script: Script, engine: Engine) -> None:
    """503 comes from the proxy in front of an engine that is not there."""
    script.on("POST", "/disks", Answer(503, "busy", "text/html"), Answer(201, FOUND))
    make(engine)
    assert len(script.asked("POST", "/disks")) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (fault("Cannot do that."), EngineRefused, "Cannot do that"),
        (Answer(404, "<fault/>"), NotFound, "not found"),
        (Answer(403, "<fault/>"), NotAuthorized, "no permission"),
        (Answer(400, "<html/>", "text/html"), EngineRefused, "400 without a reason"),
        (Answer(200, "<disk><alias>root</alias></disk>"), EngineUnreachable, "has no id"),
        (Answer(200, "<disk id='d-1'><alias>ro"), EngineUnreachable, "Cannot read the disk"),
    ],
)
def test_what_the_engine_says_is_told(
    script: Script, engine: Engine, answer: Answer, kind: type[Exception], words: str
) -> None:
    script.on("GET", DISK, answer)
    with pytest.raises(kind, match=words):
        look(engine)


@pytest.mark.parametrize("answer", [fault("Cannot do that."), Answer(403, "<fault/>")])
def test_a_refusal_is_not_asked_again(script: Script, engine: Engine, answer: Answer) -> None:
    script.on("GET", DISK, answer)
    with pytest.raises((EngineRefused, NotAuthorized)):
        look(engine)
    assert len(script.asked("GET", DISK)) == 1


def test_somebody_elses_lock_is_waited_out_where_that_is_asked(script: Script, engine: Engine) -> None:
    locked = fault("Cannot edit Disk. Disk root is locked. Please try again later.")
    script.on("GET", DISK, locked, locked, FOUND)
    with pytest.raises(EngineRefused) as caught:
        look(engine)
    assert is_lock(caught.value)
    script.on("GET", DISK, locked, locked, FOUND)
    look(engine, wait_for_locks=5.0)
    script.on("GET", DISK, fault("Cannot edit Disk. The name is taken."))
    asked = len(script.requests)
    with pytest.raises(EngineRefused):
        look(engine, wait_for_locks=5.0)
    assert len(script.requests) == asked + 1, "another refusal is one"


def test_a_fault_of_ours_is_none_of_the_engines(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError):
        engine.call("divide", lambda s: 1 // 0)


# -- the login -------------------------------------------------------------------------------------------


def access(script: Script, **facts: object) -> EngineAccess:
    return EngineAccess(script.url, "backup@internal", "open sesame", timeout=10, **facts)  # type: ignore[arg-type]


def test_one_login_for_all_threads_and_one_logout(script: Script) -> None:
    script.on("GET", DISK, FOUND)
    with Engine(access(script), patience=HASTY, run_id="run-7") as engine:
        threads = [threading.Thread(target=look, args=(engine,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (engine.version, engine.full_version, engine.instance_id) == ((4, 5, 0), "4.5.0", "engine-1")
    (login,) = script.asked("POST", TOKEN)
    assert b"password=open+sesame" in login.body
    (logout,) = script.asked("POST", LOGOUT)
    assert b"token=token-of-the-script" in logout.body
    assert {r.headers.get("Correlation-Id") for r in script.asked("GET", DISK)} == {"borg-ovirt-run-7"}
    assert {r.headers["Authorization"] for r in script.asked("GET", DISK)} == {"Bearer token-of-the-script"}


def test_a_session_that_ended_is_begun_again(script: Script, engine: Engine) -> None:
    script.on("GET", DISK, Answer(401, "<html><body>Unauthorized</body></html>", "text/html"), FOUND)
    look(engine)
    assert len(script.asked("POST", TOKEN)) == 1, "the first one was before the test"


def test_too_many_sessions_are_not_made_more(script: Script, engine: Engine) -> None:
    page = "<html><body>Unable to log in: the user has too many sessions.</body></html>"
    script.on("GET", DISK, Answer(401, page, "text/html"))
    with pytest.raises(LoginFailed, match="too many sessions"):
        look(engine)
    assert len(script.asked("POST", TOKEN)) <= 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ('{"error_code": "access_denied", "error": "Cannot authenticate user"}', LoginFailed),
        ('{"error_code": "server_error", "error": "the database is away"}', EngineUnreachable),
        ("{}", LoginFailed),
        ("<html>welcome</html>", EngineRefused),
    ],
)
def test_a_login_that_fails_shows_no_password(script: Script, answer: str, kind: type[Exception]) -> None:
    script.on("POST", TOKEN, Answer(body=answer, type="application/json"))
    with pytest.raises(kind) as caught, Engine(access(script), patience=HASTY):
        pass
    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(access(script))


def test_no_redirect_takes_the_password_elsewhere(script: Script) -> None:
    script.on("POST", TOKEN, Answer(302, "", headers={"Location": f"{script.url}/elsewhere"}))
    with pytest.raises(EngineRefused), Engine(access(script), patience=HASTY):
        pass
    assert [r.path for r in script.requests] == [TOKEN]


@pytest.mark.parametrize("form", ["engine.example", "https://engine.example/", "engine.example/ovirt-engine"])
def test_the_url_may_be_short(form: str) -> None:
    assert EngineAccess(form, "u", "p").api_url == "https://engine.example/ovirt-engine/api"
    with pytest.raises(UsageError):
        _ = EngineAccess("https://", "u", "p").api_url


# -- certificates ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def secure(pki: Pki, script: Script) -> Iterator[Script]:
    """The same engine over TLS, with a CA of its own."""
    made = Script(pki)
    yield made
    made.close()
    assert made.unforeseen == []


def test_no_login_to_an_engine_that_nobody_vouches_for(secure: Script, pki: Pki, tmp_path: Path) -> None:
    strangers = make_pki(tmp_path).ca_file
    for ca_file in (None, strangers):
        with pytest.raises(CertificateError), Engine(access(secure, ca_file=ca_file), patience=HASTY):
            pass
    assert secure.requests == [], "the password must not have left"
    with Engine(access(secure, ca_file=pki.ca_file), patience=HASTY):
        pass
    assert [r.path for r in secure.requests] == [TOKEN, "", PAGE, LOGOUT]
    with Engine(access(secure, ca_pem=pki.ca_file.read_text()), patience=HASTY) as engine:
        assert Path(str(engine.ca_file)).read_text() == pki.ca_file.read_text()
    assert not Path(str(engine.ca_file)).exists()


def test_the_certificate_is_for_that_name(pki: Pki) -> None:
    """It is for localhost and 127.0.0.1."""
    elsewhere = Script(pki, "127.0.0.2")
    with pytest.raises(CertificateError, match="another name"):
        Engine(access(elsewhere, ca_file=pki.ca_file), patience=HASTY).__enter__()
    elsewhere.close()
    assert elsewhere.requests == []


@pytest.mark.parametrize("content", ["", "rubbish"])
def test_a_ca_file_without_a_certificate_is_told(script: Script, tmp_path: Path, content: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(content)
    with pytest.raises(CertificateError, match="holds no certificate"), Engine(access(script, ca_file=path)):
        pass
    with (
        pytest.raises(CertificateError, match="does not exist"),
        Engine(access(script, ca_file=tmp_path / "x")),
    ):
        pass
    assert script.requests == []


def test_a_ca_is_believed_by_its_fingerprint_alone(secure: Script, pki: Pki, tmp_path: Path) -> None:
    pem = pki.ca_file.read_text()
    secure.on("GET", "/ovirt-engine/services/pki-resource", Answer(body=pem, type="text/plain"))
    fetched = fetch_ca(f"{secure.url}/ovirt-engine/api")
    assert fetched.pem == pem
    assert len(fetched.fingerprint) == 32 * 3 - 1
    target = tmp_path / "ca.pem"
    wrong = fetched.fingerprint[:-1] + ("0" if fetched.fingerprint[-1] != "0" else "1")
    with pytest.raises(CertificateError, match="nothing was written"):
        pin_ca(fetched, wrong, target)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        pin_ca(fetched, fetched.fingerprint[:-3], target)
    assert not target.exists()
    pin_ca(fetched, fetched.fingerprint.lower().replace(":", " "), target)
    assert target.read_text() == pem
    with pytest.raises(UsageError, match="exists"):
        pin_ca(fetched, fetched.fingerprint, target)
    assert fingerprint(f"words before\n{pem}and after\n{pem}") == fetched.fingerprint


def test_when_certificates_expire(secure: Script, pki: Pki, script: Script, tmp_path: Path) -> None:
    secure.on("GET", "/ovirt-engine/services/pki-resource", Answer(body="x", type="text/plain"))
    told = ssl._ssl._test_decode_cert(str(pki.cert_file))["notAfter"]  # type: ignore[attr-defined]
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(told), timezone.utc)
    assert certificate_end("127.0.0.1", secure.port, str(pki.ca_file)) == end
    assert engine_certificate_end(f"{secure.url}/ovirt-engine/api", str(pki.ca_file)) == end
    with pytest.raises(CertificateError):
        certificate_end("127.0.0.1", secure.port, str(make_pki(tmp_path).ca_file))
    with pytest.raises(EngineUnreachable):
        certificate_end("127.0.0.1", 1, str(pki.ca_file))


# -- events, rights, waiting -----------------------------------------------------------------------------


def test_only_what_came_after_the_mark_and_concerns_the_vm(script: Script, engine: Engine) -> None:
    def event(index: int, code: int, vm_id: str | None) -> str:
        vm = f"<vm id='{vm_id}'/>" if vm_id else ""
        return (
            f"<event id='{index}'><code>{code}</code><index>{index}</index>"
            f"<description>event {index}</description>{vm}</event>"
        )

    script.on("GET", "/events", f"<events>{event(7, 1, None)}</events>")
    mark = EventMark(engine)
    listed = [
        event(9, 5, "v-1"),
        event(8, 5, None),
        event(7, 5, "v-1"),
        event(10, 5, "v-2"),
        event(11, 6, "v-1"),
    ]
    script.on("GET", "/events", f"<events>{''.join(listed)}</events>")
    assert mark.texts({5}, "v-1") == ["event 8", "event 9"]
    assert mark.texts({5}) == ["event 8", "event 9", "event 10"]
    assert script.asked("GET", "/events")[-1].query["from"] == "7"


TAKEN = fault("=Cannot add External Event. External Event with this custom id already exists.", 400)


def test_a_line_in_the_engines_log(script: Script, engine: Engine) -> None:
    script.on("POST", "/events", TAKEN, Answer(201, "<event id='1'/>"))
    post_event(engine, "x" * 2000, severity="warning", vm_id="v-1")
    first, second = script.asked("POST", "/events")
    assert first.body != second.body, "another id is drawn"
    assert b"x" * 900 in second.body
    assert b"x" * 901 not in second.body
    for refusal, words in ((fault("No.", 409), "No."), (TAKEN, "already exists")):
        script.on("POST", "/events", refusal)
        with pytest.raises(EngineRefused, match=words):
            post_event(engine, "x")


def test_a_line_whose_answer_was_lost_is_there_once(script: Script, engine: Engine) -> None:
    script.on("POST", "/events", HANG_UP, TAKEN)
    post_event(engine, "x")
    first, second = script.asked("POST", "/events")
    assert first.body == second.body


def test_each_right_is_asked_for_itself(script: Script, engine: Engine) -> None:
    listed = ["vms", "disks", "clusters", "datacenters", "storagedomains", "events", "imagetransfers"]
    for name in listed:
        script.on("GET", f"/{name}", f"<{name}/>")
    script.on("GET", "/disks", "<disks><disk id='d-1'/><disk id='d-2'/></disks>")
    script.on("GET", "/storagedomains", Answer(403, "<fault/>"))
    found = {name: (count, words != "") for name, count, words in read_rights(engine)}
    assert found["disks"] == (2, False)
    assert found["storage domains"] == (None, True)
    assert found["VMs"] == (0, False)
    script.on("GET", "/vms/v-1/backups", "<backups/>")
    script.on("GET", "/vms/v-1/checkpoints", Answer(404, "<fault/>"))
    assert "older than 4.4" in str(backup_rights(engine, "v-1"))
    script.on("GET", "/vms/v-1/checkpoints", "<checkpoints/>")
    assert backup_rights(engine, "v-1") is None


def test_which_disks_keep_bitmaps(script: Script, engine: Engine) -> None:
    def disk(id_: str, format_: str, backup: str, storage: str = "image", content: str = "data") -> str:
        return (
            f"<disk id='{id_}'><format>{format_}</format><backup>{backup}</backup><storage_type>{storage}"
            f"</storage_type><content_type>{content}</content_type></disk>"
        )

    script.on(
        "GET",
        "/disks",
        "<disks>"
        + disk("d-1", "cow", "incremental")
        + disk("d-2", "cow", "none")
        + disk("d-3", "raw", "none")
        + disk("d-4", "cow", "none", storage="lun")
        + disk("d-5", "cow", "none", content="iso")
        + "</disks>",
    )
    assert [(disk.id, disk.format, disk.incremental) for disk in image_disks(engine)] == [
        ("d-1", "cow", True),
        ("d-2", "cow", False),
        ("d-3", "raw", False),
    ]


def test_waiting_ends_with_the_thing_or_with_the_time() -> None:
    patience = Patience(first=0.001, most=0.002, unclear=0.01)
    looks = iter([None, None, "found"])
    assert patience.wait("it", lambda: next(looks), 5) == "found"
    with pytest.raises(Timeout, match="Waited 0 s for it, in vain"):
        patience.wait("it", lambda: None, 0.01)
    assert patience.look(lambda: None) is None
    pauses = patience.pauses()
    assert [next(pauses) for _ in range(9)][-1] == patience.most


@pytest.mark.parametrize(("major", "minor"), [(4, 3), (4, 5)])
def test_the_version_is_the_engines(script: Script, major: int, minor: int) -> None:
    script.on("GET", "", version(major, minor))
    with Engine(access(script), patience=HASTY) as engine:
        assert engine.version[:2] == (major, minor)


def test_one_event_is_asked_for_where_there_may_be_millions(script: Script, engine: Engine) -> None:
    script.on("GET", "/events", "<events><event id='7'/></events>")
    assert newest_event(engine) is None
    (asked,) = script.asked("GET", "/events")
    assert asked.query["max"] == "1"
    script.on("GET", "/events", Answer(400, "<fault><detail>query execution failed</detail></fault>"))
    assert "query execution failed" in (newest_event(engine) or "")
