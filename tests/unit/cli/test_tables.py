"""What names something has its whole width; prose is broken, then stands below; the least telling goes."""

from __future__ import annotations

from borg_ovirt.cli.tables import table

COLUMNS = ["ARCHIVE", "MODE", "SIZE", "NOTES"]
ROW = ["web01-2026-03-01T120000Z", "image", "12 MiB", "the first backup of this VM in this repository"]
OTHER = ["db01-2026-03-01T120000Z", "chain", "1 TiB", ""]


def drawn(width: int | None, spare: tuple[str, ...] = ()) -> list[str]:
    return list(table(COLUMNS, [ROW, OTHER], width, spare))


def test_without_a_bound_each_row_is_a_line() -> None:
    head, first, second = drawn(None)
    assert head == "ARCHIVE                   MODE   SIZE    NOTES"
    assert first == "  ".join(ROW)
    assert second == "db01-2026-03-01T120000Z   chain  1 TiB"
    assert drawn(len(first)) == drawn(None)


def test_prose_is_broken_where_there_is_room_beside() -> None:
    lines = drawn(70)
    assert max(map(len, lines)) <= 70
    assert lines[1] == "web01-2026-03-01T120000Z  image  12 MiB  the first backup of this VM"
    assert lines[2] == " " * 41 + "in this repository"
    assert len(lines) == 4


def test_else_it_stands_below() -> None:
    head, first, note, second = drawn(55)
    assert head == "ARCHIVE                   MODE   SIZE"
    assert first == "web01-2026-03-01T120000Z  image  12 MiB"
    assert note == "  the first backup of this VM in this repository"
    assert second.startswith("db01-2026-03-01T120000Z ")


def test_what_says_the_least_goes_and_names_never_do() -> None:
    assert drawn(36, ("MODE", "SIZE"))[0] == "ARCHIVE                   SIZE"
    assert drawn(30, ("MODE", "SIZE"))[0] == "ARCHIVE"
    assert ROW[0] in drawn(10, ("MODE", "SIZE"))
    assert drawn(55, ("MODE",))[0] == "ARCHIVE                   MODE   SIZE", "that fits"


def test_wide_characters_count_twice() -> None:
    head, row = table(["VM", "SIZE"], [["\u4ed3\u5e93", "1 TiB"]])
    assert (head, row) == ("VM    SIZE", "\u4ed3\u5e93  1 TiB")
