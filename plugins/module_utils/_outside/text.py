# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that others wrote (logs, answers of servers, labels, names), as it may stand on an operator's terminal. Pure."""

from __future__ import annotations

import re
import typing as t

# Escape sequences as a whole: those that carry a text up to BEL or ST (OSC, DCS, ...), CSI, and the short ones.
_SEQUENCE = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x9c|\x1b\\)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_BREAK = re.compile(r"[\t\n\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]+")
_BREAK_IN_LINES = re.compile(r"[\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029]+")
# C0, DEL, C1, and what turns the direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """One line without control characters, which fits into JSON."""
    return _without_controls(text, _BREAK)


def plain_lines(text: str) -> str:
    """The same for a text of several lines: line feeds and tabs stay."""
    return _without_controls(text, _BREAK_IN_LINES)


def _without_controls(text: str, breaks: t.Pattern[str]) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair
    return _CONTROL.sub("", breaks.sub(" ", _SEQUENCE.sub("", text)))
