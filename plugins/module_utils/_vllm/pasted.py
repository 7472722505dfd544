# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A log as it was before someone copied it: from a web page, from a narrow terminal, from a viewer with the newest line
first. Text in, text out; what shows no such sign throughout stays as it is.
"""

from __future__ import annotations

import html
import re

from .lines import begins, read

LONGEST = 1024 * 1024  # more than that is a file, which nobody has pasted
LEAST_WIDTH = 60  # of a terminal

_ENTITY = re.compile(r"&(?:lt|gt|quot|apos|amp|nbsp|#0?39|#x27|#0?34|#x22);")
_BROKEN_WORD = re.compile(r"\w\w")
_TIME = re.compile(r"(?:\d\d-\d\d[T ])?\d\d:\d\d:\d\d")
_TRACEBACK = re.compile(r"(?:Exception Group )?Traceback \(most recent call last\):$")
_FRAME = re.compile(r'  File "[^"]{1,300}", line \d')


def restored(text: str) -> str:
    """The log that was copied."""
    if len(text) > LONGEST:
        return text
    return oldest_first(unwrapped(unescaped(text)))


def unescaped(text: str) -> str:
    """Without the entities of HTML, if no character that is written as one stands there as itself."""
    found = set(_ENTITY.findall(text))
    if not found or text.count("&") != len(_ENTITY.findall(text)):
        return text
    meant = {html.unescape(entity) for entity in found} - {"&", "\xa0"}
    if (meant | {"<", ">"}) & set(text):
        return text
    return html.unescape(text).replace("\xa0", " ")


def unwrapped(text: str) -> str:
    """Lines as they were, if all of them were broken at one width: what follows a full one is the rest of it."""
    lines = text.splitlines()
    width = max(map(len, lines), default=0)
    if width < LEAST_WIDTH or not _are_broken(lines, width):
        return text
    joined = lines[:1]
    for before, line in zip(lines, lines[1:]):
        lost = width - len(before)
        if lost <= 1 and _is_rest(line):
            joined[-1] += " " * lost + line  # a space at the end of a line is not copied
        else:
            joined.append(line)
    return "".join(f"{line}\n" for line in joined)


def _are_broken(lines: list[str], width: int) -> bool:
    full = [(line, rest) for line, rest in zip(lines, lines[1:]) if len(line) == width]
    rests = [(line, rest) for line, rest in full if _is_rest(rest)]
    # Two processes may write lines of one length, a log may repeat itself, and two lines may be as long by chance.
    several = len({re.sub(r"\d", "", line) for line, _rest in rests}) > 1 and 2 * len(rests) >= len(full)
    return several and any(_BROKEN_WORD.match(line[-1] + rest[0]) for line, rest in rests)


def _is_rest(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("  ") and not begins(line)


def oldest_first(text: str) -> str:
    """Lines in the order in which they were written, if their times fall, or every traceback ends with its header."""
    lines = text.splitlines()
    timed = [(read(line).process, found.group()) for line in lines if (found := _TIME.search(line[:300]))]
    # Processes that write at once overtake each other: only the lines of one process have an order.
    apart: dict[str, list[str]] = {}
    for process, time in timed:
        apart.setdefault(process, []).append(time)
    steps = [_steps(times) for times in apart.values()]
    falls, rises = sum(fell for fell, _rose in steps), sum(rose for _fell, rose in steps)
    is_falling = falls > 0 and max(falls, _steps([time for _process, time in timed])[0]) > 1
    last_first = sum(map(_is_upside_down, lines, lines[1:]))
    first_first = sum(map(_is_upside_down, lines[1:], lines))
    # a clock may be set back, but a traceback does not turn
    if first_first or rises > (falls if last_first else 0) or not (last_first or is_falling):
        return text
    return "".join(f"{line}\n" for line in reversed(lines))


def _steps(times: list[str]) -> tuple[int, int]:
    """How often a time is earlier than the one before it, and how often later."""
    pairs = [(one, two) for one, two in zip(times, times[1:]) if len(one) == len(two)]
    pairs = [("", two) if one[:3] == "12-" and two[:3] == "01-" else (one, two) for one, two in pairs]  # a new year
    return sum(two < one for one, two in pairs), sum(two > one for one, two in pairs)


def _is_upside_down(line: str, following: str) -> bool:
    """A frame, and after it the header of its traceback."""
    frame, header = _FRAME.search(line[:300]), _TRACEBACK.search(following[:300])
    if frame is None or header is None:
        return False
    return _process(line[: frame.start()]) == _process(following[: header.start()])


def _process(prefix: str) -> str:
    return re.sub(r"\d", "", prefix).rstrip()
