# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which family an exception belongs to that no signature knows."""

from __future__ import annotations

import re
import typing as t

from .causes import Cause
from .entries import Family, Feature, Rule
from .signatures import FAMILIES, FEATURES, RULES

INNER = 3  # so many of the last frames tell where an exception was raised

# what a switch may avoid; files, hub, hosts and stops are not among it
SWITCHED = ("kernel", "compiler", "weights", "model", "option", "engine", "image", "network", "driver", "unknown")

_FAMILIES = {entry.id: entry for entry in FAMILIES}
_Pattern = t.Optional[t.Pattern[str]]


def _compile(rule: Rule) -> tuple[Rule, _Pattern, _Pattern, _Pattern, _Pattern]:
    def pattern(text: str, flags: int = re.IGNORECASE | re.MULTILINE) -> _Pattern:
        return re.compile(text, flags) if text else None

    # a class is written in one way only
    return rule, pattern(rule.name, 0), pattern(rule.text), pattern(rule.frames), pattern(rule.inner)


def place(name: str, text: str, frames: t.Sequence[str]) -> Family:
    """The family of an exception, by its class, its text and where it was raised."""
    every, inner = "\n".join(frames), "\n".join(frames[-INNER:])
    for rule, by_name, by_text, by_frames, by_inner in _RULES:
        if (
            (by_name is None or by_name.search(name))
            and (by_text is None or by_text.search(text))
            and (by_frames is None or by_frames.search(every))
            and (by_inner is None or by_inner.search(inner))
        ):
            return _FAMILIES[rule.family]
    return _FAMILIES["unknown_exception"]


def family(name: str) -> Family:
    return _FAMILIES[name]


def feature(frames: t.Sequence[str], when: str) -> Feature | None:
    """The part of vLLM that an exception was raised in, if it can be switched off."""
    every, inner = "\n".join(frames), "\n".join(frames[-INNER:])
    found = (
        entry
        for entry, pattern in _FEATURES
        if entry.when in ("", when) and pattern.search(inner if entry.inner else every)
    )
    return next(found, None)


def advise(entry: Feature | None, remedy: str) -> str:
    """A remedy that begins with the switch."""
    return f"{entry.advice} first, because the trace leads through {entry.name}. {remedy}" if entry else remedy


def explain(
    entry: Family, exception: str, frames: t.Sequence[str], name: str | None = None, when: str = "start"
) -> Cause:
    """A family in words: the exception is quoted, and what is likely is not told as a fact."""
    words = {"exception": exception, "where": _where(frames)}
    part = feature(frames, when) if entry.family in SWITCHED else None
    return Cause(
        name or entry.id,
        entry.meaning.format_map(words),
        advise(part, entry.remedy.format_map(words)),
        exception,
        family=entry.family,
        certain=False,
    )


def _where(frames: t.Sequence[str]) -> str:
    if not frames:
        return ""
    path, function = (frames[-1].split(":", 2) + ["", ""])[:2]
    short = re.sub(r"^.*/(?:dist|site)-packages/|^.*/lib/python3[.\d]*/", "", path)
    return f", raised in {short} ({function.strip()})" if function.strip() else f", raised in {short}"


_RULES = tuple(_compile(rule) for rule in RULES)
_FEATURES = tuple((entry, re.compile(entry.frames, re.IGNORECASE)) for entry in FEATURES)
