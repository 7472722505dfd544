# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a line of a log, or from what was observed, to a cause in words: id, meaning, remedy, evidence.

Nothing here knows what a vLLM log looks like: the downloader and the cache use it too.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import typing as t
from dataclasses import dataclass

from .entries import Signature
from .signatures import CONDITIONS, HARMLESS, SIGNATURES
from .text import around, compiled, hide, link, mask, shorten_middle

LEAST_UTILIZATION = 0.05  # a smaller share of the memory serves no model
LEAST_CONTEXT = 1024  # tokens; with less, a server is of no use
# The memory that is left for the KV cache differs between starts of the same options (6.83 to 6.97 GiB at one owner).
SLACK = 0.03
BLOCK = 16  # tokens of one block of the KV cache

_SLOTS = {"wrapper": "wrapper", "hint": "hint", "retry": "hint", "wait": "wait"}  # else it is specific


class Cause(t.NamedTuple):
    id: str
    meaning: str
    remedy: str
    evidence: str
    # variables of the role vllm, and the values with which the start should succeed; empty where none can be computed
    change: t.Mapping[str, float | int] = {}
    family: str = "service"
    certain: bool = True  # False: placed by its family or not at all, no signature knows it
    retry: bool = False  # a passing fault: the same call may succeed at once
    sets: t.Mapping[str, t.Mapping[str, str]] = {}  # options and environment that keep image and model

    @property
    def link(self) -> str:
        return link(self.id)


class Match(t.NamedTuple):
    """A signature that was found, with the line that showed it."""

    signature: Signature
    groups: dict[str, str]
    evidence: str


@dataclass(frozen=True, eq=False)  # a key by its identity
class _Entry:
    signature: Signature
    slot: str


_TABLE = tuple(_Entry(signature, _SLOTS.get(signature.kind, "specific")) for signature in SIGNATURES)
_HARMLESS = tuple(literal for entry in HARMLESS for literal in entry.literals)
_LITERALS: dict[str, tuple[tuple[str, _Entry], ...]] = {
    slots: tuple(
        (literal, entry) for entry in _TABLE if entry.slot in slots.split() for literal in entry.signature.literals
    )
    for slots in ("specific wrapper hint wait", "hint wait", "wrapper", "specific")
}
ALL, HINTS, WRAPPERS, SPECIFIC = _LITERALS
_OTHER_PLACE = re.compile(r"_\d$")
# NCCL, Gloo and Ray speak of sockets and networks too, and never of the hub.
_BETWEEN_HOSTS = re.compile(r"\bNCCL (?:WARN|INFO)\b|\bgloo\b|torch\.distributed|\bc10d\b", re.IGNORECASE)


_COMMON = {char: rank for rank, char in enumerate("zqjxkvbywgpfmucdlhrsnioate ")}


def _rarest(literal: str) -> str:
    """The three characters of a literal that a line is least likely to have."""
    parts = [literal[start : start + 3] for start in range(len(literal) - 2)]
    return min(parts, key=lambda part: sum(_COMMON.get(char, -9) for char in part))


# A short line is examined only for the literals of which it has three characters: there are hundreds of literals, and
# hundred thousands of lines.
_SHORT = 400


@functools.cache
def _index(slots: str) -> dict[str, list[int]]:
    index: dict[str, list[int]] = {}
    for number, (literal, _entry) in enumerate(_LITERALS[slots]):
        index.setdefault(_rarest(literal), []).append(number)
    return index


def _candidates(low: str, slots: str) -> dict[_Entry, None]:
    entries = _LITERALS[slots]
    if len(low) > _SHORT:
        return dict.fromkeys([entry for literal, entry in entries if literal in low])
    index = _index(slots)
    hits = index.keys() & {low[start : start + 3] for start in range(len(low) - 2)}
    numbers = sorted(number for hit in hits for number in index[hit])
    return dict.fromkeys([entries[number][1] for number in numbers if entries[number][0] in low])


@functools.lru_cache(maxsize=1024)  # a log repeats itself
def find(text: str, slots: str = ALL, frames: str = "") -> tuple[Match, ...]:
    """Every signature that matches a text, in the order of the tables; those that are generic come last."""
    found: list[Match] = []
    for entry in _candidates(text.lower(), slots):
        match = compiled(entry.signature.pattern).search(text)
        if match is not None and _fits(entry, match, text, frames):
            shown = evidence(text, match.start(), match.end())
            found.append(Match(entry.signature, groups(match), shown))
    return tuple(sorted(found, key=lambda match: match.signature.generic))


def groups(match: t.Match[str]) -> dict[str, str]:
    """What the pattern names; `name_2` is another place for `name`."""
    found: dict[str, str] = {}
    for name, value in match.groupdict().items():
        if value is not None and value.strip():
            found.setdefault(_OTHER_PLACE.sub("", name), mask(" ".join(value.split())))
    return found


def _fits(entry: _Entry, match: t.Match[str], text: str, frames: str) -> bool:
    signature = entry.signature
    if signature.frames and not compiled(signature.frames).search(frames):
        return False
    if signature.unless and any(compiled(signature.unless).search(each) for each in (text, frames)):
        return False
    if signature.family == "hub" and _BETWEEN_HOSTS.search(text):
        return False
    return entry.slot in ("hint", "wait") or not is_harmless(lines_of(text, match.start(), match.end()))


def is_harmless(line: str) -> bool:
    low = line.lower()
    return any(harmless in low for harmless in _HARMLESS)


def lines_of(text: str, begin: int, end: int) -> str:
    first = text.rfind("\n", 0, begin) + 1
    last = text.find("\n", max(begin, end - 1))
    return text[first : last if last >= 0 else len(text)]


def evidence(text: str, begin: int, end: int) -> str:
    """The lines of a text that a match touches, in one line."""
    first = text.rfind("\n", 0, begin) + 1
    lines = lines_of(text, begin, end)
    before = " ".join(lines[: begin - first].split())
    whole = mask(" ".join(lines.split()))
    return around(whole, len(before), min(len(whole), len(before) + end - begin))


def recognize(text: str) -> Cause | None:
    """The cause that a short message (of Docker, of systemd, of the hub's client) names, if it is a known one."""
    generic: Match | None = None
    for line in text.splitlines():
        if is_harmless(line):
            continue
        for match in find(line, SPECIFIC):
            if not match.signature.generic:
                return explain(match)
            generic = generic or match
    return explain(generic) if generic else None


# --- from a match to words -------------------------------------------------------------------------------------


def _utilization(groups: t.Mapping[str, str]) -> dict[str, float]:
    free, total = float(groups["free"]), float(groups["total"])
    # one GiB stays free for other processes
    fits = math.floor((free - 1) / total * 100) / 100 if total else 0.0
    least = max(LEAST_UTILIZATION, float(groups["util"]) / 2)  # with less, another process holds what the model needs
    return {"vllm_gpu_memory_utilization": fits} if fits >= least else {}


def _model_len(groups: t.Mapping[str, str]) -> dict[str, int]:
    fits = int(int(groups["estimate"]) * (1 - SLACK)) // BLOCK * BLOCK
    return {"vllm_max_model_len": fits} if fits >= LEAST_CONTEXT else {}


# How a cause can be computed away, and what to say where it cannot.
_CHANGES: dict[str, tuple[t.Callable[[t.Mapping[str, str]], dict[str, t.Any]], str]] = {
    "mem_free_below_util": (_utilization, "what fits after stopping what uses the memory"),
    "kv_too_small": (_model_len, "less than {length}"),
}


_MISSING = "\0"


class _Words(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return _MISSING


def _say(text: str, words: _Words) -> str:
    """A text with its words; what is in brackets or behind a colon goes where the log did not name it."""
    said = text.format_map(words)
    if _MISSING in said:
        said = re.sub(rf" ?\([^()]*{_MISSING}[^()]*\)|[:,] {_MISSING}$", "", said).replace(_MISSING, "?")
    return said


def explain(match: Match) -> Cause:
    """Put the numbers of the line into the words of its signature."""
    signature = match.signature
    words, change = _Words(match.groups), dict[str, t.Any]()
    for name, value in match.groups.items():
        if value.startswith("--"):  # an option as vllm_extra_args spells it
            words[f"{name}_name"] = value.strip("-").replace("-", "_")
    if signature.id in _CHANGES:
        compute, otherwise = _CHANGES[signature.id]
        with contextlib.suppress(KeyError, ValueError):  # the line was torn before its numbers
            change = compute(match.groups)
        words["suggested"] = next((f"{value}" for value in change.values()), _say(otherwise, words))
    meaning, remedy = _say(signature.meaning, words), _say(signature.remedy, words)
    sets: dict[str, dict[str, str]] = {}
    for variable, name, value in signature.sets:
        sets.setdefault(variable, {})[name] = value
    return Cause(
        signature.id,
        meaning,
        remedy,
        match.evidence,
        change,
        family=signature.family,
        retry=signature.retry,
        sets=sets,
    )


_CONDITIONS = {entry.id: entry for entry in CONDITIONS}


def condition(name: str, shown: str | None = None) -> Cause:
    """A cause that shows in what is around the server, not in its log."""
    entry = _CONDITIONS[name]
    text = shorten_middle(mask(shown or ""))
    return Cause(entry.id, entry.meaning, entry.remedy, text, family=entry.family)


def of_unit(remedy: str, unit: str) -> str:
    """The remedies of the tables call it UNIT."""
    if unit:
        return re.sub(r"\bUNIT\b", unit, remedy)
    return re.sub(r"`([^`]*?)(?: -u)? UNIT`", r"`\1` of its unit", remedy)


def as_dict(cause: Cause | None, key: str | None = None, unit: str = "") -> dict[str, t.Any] | None:
    """A cause as the modules return it. Whoever has read the host knows the name of the UNIT."""
    if cause is None:
        return None
    # What comes from the log has no tokens in it any more, and our own words name hf_overrides.
    texts = {
        "id": cause.id,
        "meaning": cause.meaning,
        "remedy": of_unit(cause.remedy, unit),
        "evidence": cause.evidence,
    }
    hidden = {name: hide(text, key) for name, text in texts.items()}
    return {
        **hidden,
        "family": cause.family,
        "certain": cause.certain,
        "retry": cause.retry,
        "link": cause.link,
        "change": dict(cause.change),
        "sets": {variable: dict(values) for variable, values in cause.sets.items()},
    }
