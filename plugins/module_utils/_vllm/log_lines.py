# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of a container's log, as `docker logs --timestamps` prints them. Text in, data out."""

from __future__ import annotations

import re
import typing as t

from .lines import MAX_LINE, clean

# What `docker logs --since` reads, of that what cannot be misread: a span, or a time in UTC.
SINCE = re.compile(r"(?:\d{1,6}[smh])+|\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?)?", re.ASCII)
_STAMPED = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z (.*)$", re.ASCII | re.DOTALL)


class LogLine(t.NamedTuple):
    time: str  # UTC, to the second: 2026-11-29T05:01:02
    text: str


def select(printed: str, pattern: t.Pattern[str] | None, newest: int) -> list[LogLine]:
    """The NEWEST lines in which PATTERN is found, the oldest first. What has no time of Docker's is left out."""
    found: list[LogLine] = []
    for line in printed.split("\n"):
        stamped = _STAMPED.match(line[: MAX_LINE + 40])
        if not stamped:  # the rest of a line whose beginning was cut off
            continue
        text = clean(stamped[2]).strip()
        if text and (pattern is None or pattern.search(text)):
            found.append(LogLine(stamped[1], text))
    return found[-newest:]
