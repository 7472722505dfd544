# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in what others wrote (answers of servers, output of programs): of the expected type, or none. Never raises."""

from __future__ import annotations

import json
import typing as t

# Larger than any count of bytes or tokens, and small enough for sums of floats.
LARGEST = 10**18
_LONGEST_NUMBER = 64


def parse_json(text: str) -> t.Any:
    """None if it is no JSON, or nested so deeply that nobody wrote it in earnest."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the first also of a number with thousands of digits
        return None


def mapping(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def sequence(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else []


def text(value: t.Any) -> str:
    return value if isinstance(value, str) else ""


def whole(value: t.Any) -> int | None:
    """A whole number, or digits that are one."""
    if isinstance(value, str):
        value = value.strip()
        if not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER):
            return None
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST else None


def real(value: t.Any) -> float | None:
    """A finite number, or the text of one."""
    if isinstance(value, str):
        if not value.isascii() or "_" in value or len(value) > _LONGEST_NUMBER:
            return None
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= LARGEST else None  # nor is NaN
