"""Rows and columns as text: what names something is never cut or broken; prose gives way to it."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence

_PROSE = {"NOTES", "RULE", "REASON"}
"""Columns of prose, which may be broken over lines or stand below their row."""
_NARROWEST = 20
"""Columns of a terminal that prose needs to stand beside the others."""
_GAP = "  "

Row = Sequence[str]


def table(
    columns: Row, rows: Sequence[Row], width: int | None = None, spare: Collection[str] = ()
) -> Iterator[str]:
    """The lines of the table, its head first; `width` is that of the terminal, None for no bound.

    Where it is too narrow prose is broken, then stands below its row, and then the columns in `spare` are
    left out, in that order, until the rest fits. What is still too wide is for the terminal to wrap.
    """
    every = [columns, *rows]
    prose = [place for place, name in enumerate(columns) if name in _PROSE]
    plain = [place for place in range(len(columns)) if place not in prose]
    sizes = [max(_cells(row[place]) for row in every) for place in range(len(columns))]

    def taken(places: Collection[int]) -> int:
        return sum(sizes[place] + len(_GAP) for place in places)

    if width is None or taken(range(len(columns))) - len(_GAP) <= width:
        for row in every:
            yield _joined(row[place] + " " * (sizes[place] - _cells(row[place])) for place in range(len(row)))
        return
    beside = width - taken(plain)
    if not prose or beside < _NARROWEST:
        for place in [columns.index(name) for name in spare if name in columns]:
            if taken(plain) - len(_GAP) <= width:
                break
            plain.remove(place)
    for row in every:
        first = _joined(row[place] + " " * (sizes[place] - _cells(row[place])) for place in plain)
        words = "; ".join(row[place] for place in prose if row[place])
        if beside >= _NARROWEST and prose:
            margin = taken(plain)
            head, *more = _broken(words, beside) or [""]
            yield f"{first}{' ' * (margin - _cells(first))}{head}".rstrip()
            yield from (f"{' ' * margin}{line}" for line in more)
            continue
        yield first
        if row is not columns:
            yield from (f"{_GAP}{line}" for line in _broken(words, width - len(_GAP)))


def _joined(cells: Iterator[str]) -> str:
    return _GAP.join(cells).rstrip()


def _broken(words: str, width: int) -> list[str]:
    # A character of two columns makes a line longer by one: the terminal wraps it.
    return textwrap.wrap(words, max(width, _NARROWEST), break_on_hyphens=False)


def _cells(text: str) -> int:
    """The columns of a terminal that the text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
