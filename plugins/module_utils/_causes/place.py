# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which family an exception belongs to that no signature knows."""

from __future__ import annotations

import re
import typing as t

from .causes import Cause
from .entries import Family, Feature
from .signatures import BACKENDS, FAMILIES, FEATURES, RULES
from .text import compiled

INNER = 3  # so many of the last frames tell where an exception was raised
# Frames of what compiles a kernel, at the end of a trace: the part of vLLM that asked for it stands before them.
_TOOLS = re.compile(r"/triton/(?:runtime|compiler|backends)/|^<")

# what a switch may avoid; files, hub, hosts and stops are not among it
SWITCHED = ("kernel", "compiler", "weights", "model", "option", "engine", "image", "network", "driver", "unknown")
# where an optional part is the first suspect although no frame leads through it
SUSPECTED = ("engine", "kernel", "unknown")
SHARED = r"quantization/utils/"  # helpers of several kinds of layers: they tell only where no other frame does
EXCHANGED = ("kernel_failed", "compile_failed")  # where another kernel may do the same
CRASHES = ("illegal_access", "engine_crashed", "crashed")  # known as such, and by what is not

_FAMILIES = {entry.id: entry for entry in FAMILIES}


def place(name: str, text: str, frames: t.Sequence[str]) -> Family:
    """The family of an exception, by its class, its text and where it was raised."""
    every, inner = "\n".join(frames), "\n".join(frames[-INNER:])
    for rule in RULES:
        if (
            (not rule.name or compiled(rule.name, 0).search(name))  # a class is written in one way only
            and (not rule.text or compiled(rule.text).search(text))
            and (not rule.frames or compiled(rule.frames).search(every))
            and (not rule.inner or compiled(rule.inner).search(inner))
        ):
            return _FAMILIES[rule.family]
    return _FAMILIES["unknown_exception"]


def family(name: str) -> Family:
    return _FAMILIES[name]


def feature(frames: t.Sequence[str], when: str, text: str = "") -> Feature | None:
    """The part of vLLM that an exception was raised in, or that its text names, if it can be switched off."""
    every, inner = "\n".join(frames), "\n".join(_own(frames)[-INNER:])
    parts = [entry for entry in FEATURES if entry.when in ("", when)]
    raised = (entry for entry in parts if compiled(entry.frames).search(inner if entry.inner else every))
    named = (entry for entry in parts if entry.says and compiled(entry.says).search(text))
    return next(raised, None) or next(named, None)


def _own(frames: t.Sequence[str]) -> t.Sequence[str]:
    """Without the tools at the end."""
    last = next((number for number in range(len(frames), 0, -1) if not _TOOLS.search(frames[number - 1])), 0)
    return frames[:last] or frames


def backend(frames: t.Sequence[str]) -> Feature | None:
    """The kernels that an exception was raised in, if vLLM has others for the same."""
    paths = [frame.partition(":")[0] for frame in reversed(_own(frames)[-INNER:])]
    paths.sort(key=lambda path: bool(compiled(SHARED).search(path)))  # else the innermost one tells
    return next((entry for path in paths for entry in BACKENDS if compiled(entry.frames).search(path)), None)


def advise(entry: Feature | None, remedy: str) -> str:
    """A remedy that begins with the switch."""
    if entry is None or remedy.startswith(entry.advice):
        return remedy
    return f"{entry.advice} first, because the exception points to {entry.name}. {remedy[:1].upper()}{remedy[1:]}"


def doubt(cause: Cause) -> Cause:
    """It was logged before the end, and nothing shows that it led to that: it is told, and changes nothing."""
    meaning = f"what was logged before the end may be its reason: {cause.meaning}"
    return cause._replace(meaning=meaning, change={}, sets={}, certain=False)


def suspect(cause: Cause, uses: t.Collection[str]) -> Cause:
    """Most faults of vLLM's own code are in an optional part: the remedy begins with one that this start used."""
    part = next((entry for entry in FEATURES if entry.name in uses), None)
    open_cause = (not cause.certain and cause.family in SUSPECTED) or cause.id in CRASHES
    if part is None or not open_cause or " first, because " in cause.remedy:
        return cause
    then = f"{cause.remedy[:1].upper()}{cause.remedy[1:]}"
    return cause._replace(remedy=f"{part.advice} first, because this start used {part.name}. {then}")


def explain(
    entry: Family, exception: str, frames: t.Sequence[str], name: str | None = None, when: str = "start"
) -> Cause:
    """A family in words: the exception is quoted, and what is likely is not told as a fact."""
    words = {"exception": exception, "where": _where(frames)}
    said = exception if entry.family != "option" else ""  # that one says what to correct
    part = feature(frames, when, said) if entry.family in SWITCHED else None
    part = part or (backend(frames) if entry.id in EXCHANGED else None)
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
