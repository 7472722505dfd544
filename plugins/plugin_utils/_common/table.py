# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of text for a terminal. Pure."""

from __future__ import annotations

import textwrap
import typing as t

Row = t.Mapping[str, t.Any]

# No text column gets narrower than that, so that names stay names.
NARROWEST = 12
# Text is not wrapped in less room than that, nor in less than its longest word.
ROOM = 24


class Column(t.NamedTuple):
    title: str
    cell: t.Callable[[Row], str | None]
    right: bool = True
    may_shrink: bool = False  # not the name of a host: it is the key for -l
    may_miss: bool = False  # where no row has it
    wraps: bool = False  # of the last column: between words, below itself


def table(rows: t.Sequence[Row], columns: t.Sequence[Column], width: int) -> str:
    """One line for each row, and more for one whose last column wraps."""
    columns = [column for column in columns if not column.may_miss or any(map(column.cell, rows))]
    texts = [[column.title for column in columns]]
    texts += [[column.cell(row) or "-" for column in columns] for row in rows]
    widths = [max(len(cells[number]) for cells in texts) for number in range(len(columns))]
    right = [column.right for column in columns]
    last = _room([cells[-1] for cells in texts], widths, width) if columns[-1].wraps else 0
    fit(widths, columns, width)
    lines: list[str] = []
    for cells in texts:
        parts = textwrap.wrap(cells[-1], last, break_on_hyphens=False) if last else cells[-1:]
        lines += [line([*cells[:-1], part], widths, right) for part in parts[:1] or [""]]
        lines += [line([*[""] * (len(cells) - 1), part], widths, right) for part in parts[1:]]
    return "\n".join(lines)


def _room(texts: t.Sequence[str], widths: list[int], width: int) -> int:
    """Of TEXTS, which are the last column, if they have to wrap. WIDTHS has it then. Else 0."""
    room = width - sum(widths[:-1]) - 2 * (len(widths) - 1)
    if not max([ROOM, *(len(word) for text in texts for word in text.split())]) <= room < widths[-1]:
        return 0
    widths[-1] = room
    return room


def fitting(rows: t.Sequence[Row], columns: t.Sequence[Column], dropped: t.Sequence[str], width: int) -> list[Column]:
    """The columns that fit, without as many of DROPPED as have to go, the first one first.

    Those in which no row has anything go before any text is shortened, also others than DROPPED, after these.
    """
    left = list(columns)
    empty = [column.title for column in columns if _is_empty(rows, column)]
    for title in sorted(empty, key=lambda title: dropped.index(title) if title in dropped else len(dropped)):
        if _fits(rows, [column._replace(may_shrink=False) for column in left], width):
            break
        left = [column for column in left if column.title != title]
    for title in dropped:
        if _fits(rows, left, width):
            break
        left = [column for column in left if column.title != title]
    return left


def _fits(rows: t.Sequence[Row], columns: t.Sequence[Column], width: int) -> bool:
    return max(map(len, table(rows, columns, width).splitlines())) <= width


def _is_empty(rows: t.Sequence[Row], column: Column) -> bool:
    return bool(rows) and all((column.cell(row) or "-") == "-" for row in rows)


def fit(widths: list[int], columns: t.Sequence[Column], width: int) -> None:
    """Takes from the widest of the columns that may shrink, until a line fits."""
    may_shrink = [number for number, column in enumerate(columns) if column.may_shrink]
    while may_shrink and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(may_shrink, key=lambda number: widths[number])
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def line(cells: t.Sequence[str], widths: t.Sequence[int], right: t.Sequence[bool]) -> str:
    """One line of a table: cells that are too long are shortened, numbers are aligned to the right."""
    padded = []
    for cell, width, is_right in zip(cells, widths, right, strict=True):
        text = shorten(cell, width)
        padded.append(text.rjust(width) if is_right else text.ljust(width))
    return "  ".join(padded).rstrip()


def shorten(text: str, width: int) -> str:
    """The beginning and the end: names of hosts and tags of images often differ at the end."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def wrapped(text: str, width: int | None, indent: int = 4) -> str:
    """Each line of TEXT within WIDTH, broken between words only, and further in where it goes on. None: as it is."""
    if width is None:
        return text
    lines: list[str] = []
    for each in text.splitlines():
        begin = len(each) - len(each.lstrip())
        further = " " * (begin + indent)
        room = max(width, begin + indent + ROOM)
        lines += textwrap.wrap(
            each, room, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)
