# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines to show of a start that is being watched. Pure but for its memory."""

from __future__ import annotations

import typing as t
from collections import deque

from .log import PHASES

# What changes is shown at once, what only goes on is shown so often (seconds).
QUIET_FOR = 10
# A rate is measured over so many seconds.
RATE_OVER = 30

_WIDTH = max(map(len, PHASES))  # so that the lines of many hosts stand in columns
_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def size(number: float, like: float | None = None) -> tuple[str, str]:
    """A number of bytes and its unit, in the unit that fits another one."""
    for unit, factor in _UNITS:
        if (like if like is not None else number) >= factor:
            value = number / factor
            return (f"{value:.1f}" if unit == "GB" else f"{value:.0f}"), unit
    return f"{number:.0f}", "B"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Rate:
    """Bytes per second over the last looks."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, number: int) -> None:
        if self._seen and number < self._seen[-1][1]:  # removed in between: what was measured is void
            self._seen.clear()
        self._seen.append((now, number))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER:
            self._seen.popleft()

    @property
    def per_second(self) -> float | None:
        if len(self._seen) < 2:
            return None
        (begin, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - begin) if end > begin else None


class Progress:
    """Turns results of vllm_health into lines, for one host."""

    def __init__(self, host: str, begin: float) -> None:
        self.host = host
        self.begin = begin
        self.rate = Rate()
        self._phase: str | None = None
        self._phase_begin = begin
        self._told: dict[str, str] = {}  # milestone of a phase, as it was last shown
        self._last_line = begin

    def lines(self, state: t.Mapping[str, t.Any], now: float) -> list[str]:
        """The lines that this look is worth."""
        phase, progress = state["phase"], state["progress"]
        found: list[tuple[str, str]] = []
        if phase == "download" and progress["bytes"] is not None:
            self.rate.add(now, progress["bytes"])
        begins = phase != self._phase
        if begins:
            if self._phase == "download":
                took = duration(now - self._phase_begin)
                found.append(("download", f"done | {' '.join(size(progress['bytes'] or 0))} in {took}"))
            self._phase, self._phase_begin = phase, now
        found += [(name, text) for name, text in _milestones(state) if self._is_news(name, text)]
        silent = not found and now - self._last_line >= QUIET_FOR
        if phase in PHASES[:-1] and (silent or (begins and phase not in dict(found))):
            found.append((phase, self._going_on(phase, progress, now)))
        if found:
            self._last_line = now
        return [self._line(name, text) for name, text in found]

    def ready(self, state: t.Mapping[str, t.Any], now: float) -> str:
        parts = [duration(now - self.begin)]
        completion = state.get("completion")
        if completion:
            noun = "token" if completion["tokens"] == 1 else "tokens"
            parts.append(f"{completion['tokens']} {noun} in {completion['seconds']:.1f} s")
        return self._line("ready", " | ".join(parts))

    def _is_news(self, name: str, text: str) -> bool:
        if self._told.get(name) == text:
            return False
        self._told[name] = text
        return True

    def _line(self, phase: str, text: str) -> str:
        return f"{self.host} | {phase:<{_WIDTH}} | {text}"

    def _going_on(self, phase: str, progress: t.Mapping[str, t.Any], now: float) -> str:
        if phase == "download":
            return self._download(progress)
        so_far = duration(now - self._phase_begin) if now > self._phase_begin else "started"
        return f"{self._told[phase]} | {so_far}" if phase in self._told else so_far

    def _download(self, progress: t.Mapping[str, t.Any]) -> str:
        have, whole, rate = progress["bytes"] or 0, progress["expected_bytes"], self.rate.per_second
        parts = []
        if whole:
            number, _unit = size(have, like=whole)
            parts += [f"{min(100, 100 * have // whole)} %", f"{number} of {' '.join(size(whole))}"]
        else:
            parts.append(" ".join(size(have)))
        if rate is not None:
            parts.append(f"{' '.join(size(rate))}/s")
            if whole and rate > 0 and have < whole:
                parts.append(f"{duration((whole - have) / rate)} left")
        return " | ".join(parts)


def _milestones(state: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What is known of the phases by now, whichever of them is going on: a quick one ends between two looks."""
    progress = state["progress"]
    if state["hint"]:
        yield state["phase"], state["hint"]["meaning"]
    if progress["shards_total"]:
        done, total = progress["shards_done"], progress["shards_total"]
        yield "load", f"shards {done}/{total} | {100 * done // total} %"
    if progress["compile_seconds"] is not None:
        yield "compile", f"done in {duration(progress['compile_seconds'])}"
    if state["kv_cache_tokens"] is not None:
        text = f"{state['kv_cache_tokens']:,} tokens"
        if state["max_concurrency"] is not None and state["max_model_len"]:
            text += f" | {state['max_concurrency']:.1f} x {state['max_model_len']:,}"
        yield "kv_cache", text
    if progress["capture_seconds"] is not None:
        yield "capture", f"done in {duration(progress['capture_seconds'])}"
    elif progress["capture_total"]:
        done, total = progress["capture_done"], progress["capture_total"]
        yield "capture", f"graphs {done}/{total} | {100 * done // total} %"
