# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of text for a terminal. Pure."""

from __future__ import annotations

import typing as t


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
