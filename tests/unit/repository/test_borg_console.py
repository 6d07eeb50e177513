"""What Borg says while an archive is made is heard, logged or not."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from borg.helpers import init_ec_warnings, set_ec

from borg_ovirt.repository import borg_console


@pytest.fixture
def warnings() -> Iterator[borg_console.Warnings]:
    with borg_console.Warnings() as heard:
        heard.forget()
        yield heard
    init_ec_warnings()


def test_what_is_logged_is_heard_on_one_line(warnings: borg_console.Warnings) -> None:
    logging.getLogger("borg.repository").info("all is well")
    assert warnings.heard() == []
    logging.getLogger("borg.repository").warning("segment 7:\n  is odd")
    assert warnings.heard() == ["segment 7: is odd"]
    warnings.forget()
    assert warnings.heard() == []


def test_an_exit_code_without_a_word_is_a_warning(warnings: borg_console.Warnings) -> None:
    set_ec(1)
    assert warnings.heard() == ["exit code 1"]
    warnings.forget()
    assert warnings.heard() == []


def test_nothing_is_heard_afterwards(warnings: borg_console.Warnings) -> None:
    warnings.__exit__()
    logging.getLogger("borg").warning("later")
    assert warnings.heard() == []


def test_a_warning_of_the_server_counts_and_its_plain_words_are_remembered(
    warnings: borg_console.Warnings,
) -> None:
    borg_console.set_up()
    line = {"type": "log_message", "levelname": "WARNING", "name": "borg.repository", "message": "odd"}
    borg_console.hear(json.dumps(line) + "\nPermission denied\n\n")
    assert warnings.heard() == ["Remote: odd"]
    assert borg_console.last_words() == "Permission denied"
