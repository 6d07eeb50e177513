"""Runs tell people, one message each, whatever ends them; one that fails changes nothing of a run."""

from __future__ import annotations

from harness import Desk
from listeners import web_hook
from operating import SMALL, configure
from ovirtbox.box import Box, DiskSpec


def test_one_message_a_run_and_none_for_what_is_named(box: Box, desk: Desk) -> None:
    vms = [box.make_vm(f"told0{n}", [DiskSpec(SMALL)], running=False) for n in (1, 2)]
    with web_hook() as hook, web_hook() as deaf:
        url = desk.root / "url"
        url.write_text(deaf.url)
        deaf.status = 500
        everything = {"when": ["always"]}
        policy = {"verify": {"level": "structure"}, "max_age": "26h"}
        notify = [{"url": hook.url, **everything}, {"url_file": str(url), **everything}]
        verify = {"after_create": True}
        configure(desk, vms={"include": {"names": ["told*"]}}, policy=policy, notify=notify, verify=verify)
        tested = desk.run("config", "notify-test").ok(2)
        assert "notification 1 was sent" in tested.out
        assert "notification 2 (json) was not sent: " in tested.out
        hook.got.clear()
        run = desk.run("create", "--json").ok()  # whoever is deaf changes nothing of it
        assert run.json["status"] == "ok"
        assert "warning: notification 2 (json) was not sent" in run.err
        desk.run("prune").ok()
        desk.run("create", "-n").ok()
        desk.run("create", "local::told01").ok()
        assert [m["title"].split()[1] for m in hook.got] == ["create", "verify", "prune"]
        assert hook.got[0]["message"].startswith("2 VMs: 2 ok.")
        assert hook.got[1]["message"].startswith("2 passed")
        hook.got.clear()
        box.disks(vms[1])[0].layers[-1].path.unlink()
        desk.run("create", "--full").ok(2)
        desk.run("create", BORG_PASSPHRASE="wrong").ok(34, 30, 31, 32, 33, 35, 36, 2)
        desk.run("verify", BORG_PASSPHRASE="wrong")
        assert [m["type"] for m in hook.got if " create " in m["title"]] == ["failure"] * 2
        assert "told02: failed: " in hook.got[0]["message"]
        assert [m["type"] for m in hook.got if " verify " in m["title"]][-1] == "failure"
        shown = desk.run("config", "validate", "--json").ok().out
        for text in (run.out, run.err, tested.out, tested.err, shown):
            assert "hush-hush" not in text
            assert "token-of-the-hook" not in text
    box.remove_vm(vms[1])
