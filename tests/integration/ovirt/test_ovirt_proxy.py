"""A web proxy in the environment: one rule for login and SDK, and an error that names it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from connect_proxy import ConnectProxy, connect_proxy
from ovirt_bed import PATIENCE
from ovirtbox.box import Box

from borg_ovirt.errors import EngineUnreachable, LoginFailed
from borg_ovirt.ovirt.facts.vm import list_vms
from borg_ovirt.ovirt.session.ca import engine_certificate_end, fetch_ca
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "all_proxy", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with connect_proxy() as running:
        yield running


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_login_api_and_ca_go_through_the_proxy(
    access: EngineAccess, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    target = urlsplit(access.api_url).netloc
    fetch_ca(access.api_url)
    assert engine_certificate_end(access.api_url, str(access.ca_file)).year > 2000
    assert proxy.tunnels == [target] * 2
    with Engine(access) as engine:
        assert proxy.tunnels == [target] * 5  # the login, the SDK's connection, the health page
        list_vms(engine)
        assert variable in str(engine.proxy)
    assert proxy.tunnels == [target] * 6  # the logout


@pytest.mark.parametrize("exempt", ["localhost", "*", "example.org, localhost"])
def test_no_proxy_holds_for_login_and_sdk_alike(
    access: EngineAccess, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", exempt)
    with Engine(access) as engine:
        assert engine.proxy is None
        list_vms(engine)
    assert proxy.tunnels == []


def test_a_rule_that_only_requests_knows_holds_for_the_sdk_too(
    access: EngineAccess, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libcurl takes no port in `no_proxy`; `requests` does. Asked once, they agree."""
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", urlsplit(access.api_url).netloc)
    with Engine(access) as engine:
        list_vms(engine)
    assert proxy.tunnels == []


def test_a_dead_proxy_is_named_at_once_without_its_password(
    access: EngineAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"127.0.0.1:{dead_port()}"
    monkeypatch.setenv("https_proxy", f"http://user:s3cret@{where}")
    started = time.monotonic()
    with pytest.raises(EngineUnreachable) as caught:
        Engine(access).__enter__()
    assert time.monotonic() - started < 20  # not the three minutes of an engine that restarts
    told = str(caught.value)
    assert f"through the proxy http://{where} (https_proxy): Connection refused" in told
    assert "no_proxy" in told
    assert "s3cret" not in told


def test_a_proxy_that_refuses_is_told_with_its_answer(
    access: EngineAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy(refuse="403 Forbidden") as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(EngineUnreachable, match=r"through the proxy .*403 Forbidden"):
            Engine(access).__enter__()


def test_a_proxy_that_goes_away_during_the_run_is_named(
    access: EngineAccess, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    with Engine(access, patience=replace(PATIENCE, engine=0.0)) as engine:
        proxy.close()
        engine._drop(engine._connection())
        with pytest.raises(EngineUnreachable, match=r"through the proxy http://127.*connection refused"):
            list_vms(engine)


@pytest.mark.parametrize("url", ["socks5h://127.0.0.1:1080", "http://[bad", "http://127.0.0.1:none"])
def test_a_proxy_that_cannot_be_used_is_told(
    access: EngineAccess, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("https_proxy", url)
    with pytest.raises(EngineUnreachable, match="https_proxy"):
        Engine(access).__enter__()


def test_too_many_sessions_are_told_at_once_in_the_engines_words(box: Box, access: EngineAccess) -> None:
    with Engine(access) as engine:
        box.engine.max_sessions = 1
        logins = len(box.engine.tokens)
        started = time.monotonic()
        try:
            with pytest.raises(
                LoginFailed, match="maximum number of allowed sessions 1 is exceeded"
            ) as caught:
                Engine(access).__enter__()
        finally:
            box.engine.max_sessions = 0
        assert time.monotonic() - started < 20
        assert caught.value.exit_code == 12
        assert len(box.engine.tokens) <= logins + 1  # the login was not tried for minutes
        list_vms(engine)
