"""`REPO::NAME` is split where Borg would split it."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.cli.location import Location, anything, named, parse, repository


@pytest.mark.parametrize(
    ("text", "repo", "name"),
    [
        ("/srv/borg::web01", "/srv/borg", "web01"),
        ("/srv/borg", "/srv/borg", None),
        ("/srv/borg::", "/srv/borg", None),
        ("/srv/a:b/c::web01-2026-08-17T02:00:00", "/srv/a:b/c", "web01-2026-08-17T02:00:00"),
        ("/srv/a::b/c", "/srv/a::b/c", None),
        ("/srv/a::b/c::web01", "/srv/a::b/c", "web01"),
        ("ssh://borg@host:2222/./vms::web01", "ssh://borg@host:2222/./vms", "web01"),
        ("ssh://borg@[2001:db8::1]:22/srv/vms::web01", "ssh://borg@[2001:db8::1]:22/srv/vms", "web01"),
        ("ssh://[::1]/srv/vms", "ssh://[::1]/srv/vms", None),
        ("borg@[::1]:vms", "borg@[::1]:vms", None),
        ("borg@[::1]:vms::web01", "borg@[::1]:vms", "web01"),
        ("borg@host:vms::web01", "borg@host:vms", "web01"),
        ("offsite::web01", "offsite", "web01"),
    ],
)
def test_repository_and_name_are_parted(text: str, repo: str, name: str | None) -> None:
    assert parse(text) == Location(repo, name)


def test_an_empty_repository_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORG_REPO", "/srv/borg")
    assert parse("::web01") == Location("/srv/borg", "web01")
    assert parse("::") == Location("/srv/borg")


def test_without_any_repository_the_command_line_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BORG_REPO", raising=False)
    with pytest.raises(click.UsageError, match="No repository"):
        parse("::web01")


@given(
    st.text(
        st.characters(codec="ascii", categories=["L", "N"]) | st.sampled_from("/.-_:@"), min_size=1
    ).filter(lambda repo: not repo.endswith(":") and not repo.startswith(":")),
    st.text(st.characters(categories=["L", "N"]) | st.sampled_from(".-_ "), min_size=1),
)
def test_what_was_joined_is_parted_again(repo: str, name: str) -> None:
    assert parse(str(Location(repo, name))) == Location(repo, name)


def test_arguments_insist_on_what_their_command_needs() -> None:
    assert anything("/r") == Location("/r")
    assert named("/r::n") == Location("/r", "n")
    assert repository("/r") == Location("/r")
    with pytest.raises(click.BadParameter, match="nothing in it"):
        named("/r")
    with pytest.raises(click.BadParameter, match="without ::n"):
        repository("/r::n")
