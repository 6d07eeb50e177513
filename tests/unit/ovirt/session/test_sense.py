"""Answers of the engine that are no answers: they never reach the SDK."""

from __future__ import annotations

import pytest

from borg_ovirt.ovirt.session.sense import Nonsense, check_xml


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<vms><vm id='1'/>", "cut off"),
        (b"<vms><vm id='1'/></vms", "cut off"),
        (b"", "cut off"),
        (b"<vms/><vms/>", "no XML"),
        (b"<!DOCTYPE vms><vms/>", "DTD"),
        (b"<a>" * 1000 + b"</a>" * 1000, "deep"),
    ],
)
def test_no_answer(body: bytes, words: str) -> None:
    with pytest.raises(Nonsense, match=words):
        check_xml(body)


def test_an_answer() -> None:
    check_xml(b"<?xml version='1.0'?><vms><vm id='1'><name>web01</name></vm></vms>")
