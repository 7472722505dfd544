# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The number that somebody meant who wrote a unit, a percent sign or separators. For messages. Pure."""

from __future__ import annotations

import re
import typing as t

_UNIT = re.compile(r"(\d{1,9})(?:([.,])(\d{1,9}))?\s?([A-Za-z%]{0,5})", re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}([ ,_])\d{3}(\1\d{3})*", re.ASCII)
_SECONDS = {**dict.fromkeys(("s", "sec"), 1), **dict.fromkeys(("m", "min"), 60), "h": 3600}


def number_meant(name: str, value: t.Any) -> str:
    """For the variable NAME; empty if nobody knows. Whether 32k are 1000s or 1024s the user must say."""
    text = str(value).strip()
    found = _UNIT.fullmatch(text)
    if not isinstance(value, str) or not (found or _THOUSANDS.fullmatch(text)):
        return ""
    if name.endswith(("_len", "_lines", "_releases")) and _THOUSANDS.fullmatch(text):
        return re.sub(r"[ ,_]", "", text)
    if not found:
        return ""
    number, unit = float(f"{found[1]}.{found[3] or 0}"), found[4]
    if name.endswith("_timeout") and unit in _SECONDS:
        return f"{number * _SECONDS[unit]:.0f}"
    if name.endswith("_gib") and re.fullmatch("[Gg]i?[Bb]?", unit):
        return f"{number:g}"
    if name.endswith("_len") and unit.lower() in ("k", "m"):
        power = 1 if unit.lower() == "k" else 2
        return f"{number * 1000**power:.0f} or {number * 1024**power:.0f}"
    if name.endswith("_utilization") and (unit == "%" or found[2] == ","):
        return f"{number / (100 if unit == '%' else 1):.10g}"
    return ""
