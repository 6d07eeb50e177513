"""Who is told of a run, of which, in which words: through Apprise, to real servers on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from listeners import mail_server, web_hook
from pydantic import ValidationError

from borg_ovirt.config.notifying import Notification
from borg_ovirt.jobs import notify
from borg_ovirt.jobs.notify import Story, events_of, tell, try_out


def one(**keys: object) -> Notification:
    return Notification.model_validate(keys)


@pytest.mark.parametrize(
    ("status", "before", "events"),
    [
        ("ok", None, {"always"}),
        ("ok", "ok", {"always"}),
        ("ok", "failed", {"always", "recovery"}),
        ("warning", "failed", {"always", "recovery", "warning"}),
        ("warning", "ok", {"always", "warning"}),
        ("failed", "ok", {"always", "failure"}),
        ("failed", "failed", {"always", "failure"}),
    ],
)
def test_what_a_run_is_to_those_who_wait(status: str, before: str | None, events: set[str]) -> None:
    assert events_of(status, before) == events


def test_nights_are_told_to_those_who_want_to_know(tmp_path: Path) -> None:
    with web_hook() as hook:
        people = [
            one(url=hook.url),
            one(url=hook.url, when=["warning"], jobs=["prune"], title="$job/$status"),
        ]
        got = []
        for job, status in (
            ("create", "ok"),
            ("create", "failed"),
            ("create", "failed"),
            ("create", "warning"),  # a recovery
            ("prune", "warning"),
            ("verify", "ok"),
            ("create", "ok"),
        ):
            story = Story(job, status=status)  # type: ignore[arg-type]
            if status == "failed":
                story.problems = ["web01: failed: no room", "db01: failed: password=hunter2"]
            assert tell(people, story, tmp_path) == []
            got.append(len(hook.got))
        assert got == [0, 1, 2, 3, 4, 4, 4]
        first = hook.got[0]
        assert first["type"] == "failure"
        assert first["title"].startswith("borg-ovirt create on ")
        assert first["title"].endswith(": failed")
        assert "- web01: failed: no room" in first["message"]
        assert "hunter2" not in json.dumps(hook.got)
        assert hook.got[3]["title"] == "prune/warning"


def test_mail_goes_to_a_mail_server(tmp_path: Path) -> None:
    with mail_server() as box:
        url = f"mailto://127.0.0.1:{box.port}?from=backup@example.org&to=admin@example.org&format=text"
        (tmp_path / "url").write_text(url + "\n")
        body = "$summary ($job took $took; $$5)\n$problems"
        story = Story("verify", summary="1 passed.", problems=[f"problem {n}" for n in range(40)])
        assert tell([one(url_file=str(tmp_path / "url"), when=["always"], body=body)], story, tmp_path) == []
        (message,) = box.got
        assert message["To"] == "admin@example.org"
        assert message["Subject"].startswith("borg-ovirt verify on ")
        part = message.get_body(("plain",))
        assert part is not None
        text = part.get_content()
        assert "1 passed. (verify took " in text
        assert "$5" in text
        assert "and 10 more" in text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("json://someone:hush-hush-secret@127.0.0.1:1/token-of-the-hook", "(json) was not sent: "),
        ("tgram://hush-hush-secret", "(tgram) was not sent"),
        # Apprise itself names the server.
        (
            "mailto://me:hush-hush-secret@token-of.invalid:1?to=a@example.org",
            '(mailto) was not sent: .*"***"',
        ),
        ("nonsense", "(?) was not sent: Apprise does not understand its URL"),
    ],
)
def test_what_cannot_be_sent_is_told_without_its_secrets(tmp_path: Path, url: str, says: str) -> None:
    (problem,) = tell([one(url=url, when=["always"])], Story("create"), tmp_path)
    assert problem.startswith("notification 1")
    assert all(part in problem for part in says.split(".*"))
    for secret in ("hush-hush", "token-of"):
        assert secret not in problem
    assert (tmp_path / "told.json").exists()  # the next run knows how this one ended


def test_a_server_that_refuses_is_told_and_others_hear_it(tmp_path: Path) -> None:
    with web_hook() as broken, web_hook() as sound:
        broken.status = 500
        found = try_out([one(url=broken.url), one(url=sound.url)])
        assert found[1] is None
        assert "500" in (found[0] or "")
        assert "token-of-the-hook" not in (found[0] or "")
        assert len(sound.got) == 1
    (problem,) = tell([one(url_file="/no/where", when=["always"])], Story("create"), tmp_path)
    assert "/no/where" in problem
    (tmp_path / "file").write_text("")
    assert any("cannot be kept" in p for p in tell([], Story("create"), tmp_path / "file"))


def test_without_apprise_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    assert notify.missing() is None
    monkeypatch.setattr(notify.importlib, "import_module", absent)
    (problem,) = tell([one(url="json://x", when=["always"])], Story("create"), tmp_path)
    assert "Install borg-ovirt[notify]" in problem
    assert "not installed" in (notify.missing() or "")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "no URL"),
        ({"url": "json://x", "url_file": "/x"}, "give one of"),
        ({"url": "json://x", "title": "$nonsense"}, r"\$nonsense is none of"),
        ({"url": "json://x", "body": "5 $ more"}, "is none of"),
        ({"url": "json://x", "when": []}, "at least 1"),
        ({"url": "json://x", "when": ["sometimes"]}, "failure"),
    ],
)
def test_mistakes_are_found_before_the_night(keys: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as error:
        one(**keys)
    assert "json://x" not in error.value.errors(include_input=False)[0]["msg"]


def test_an_address_is_not_shown() -> None:
    assert "hush" not in one(url="json://a:hush-hush@x").model_dump_json()
