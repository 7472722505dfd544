# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verdict from a log alone, with what is known of its end. It is judged as vllm_health judges a service."""

from __future__ import annotations

import typing as t

from .._causes.causes import as_dict, condition, explain
from .._host.docker import Container, Unit
from .health import Api, Observation, Verdict, Wanted, judge
from .log import LogState, parse
from .pasted import restored

SOURCES = ("container", "docker", "journal")
_NOW = 1_000_000.0


def diagnose(
    text: str,
    source: str = "container",
    exit_code: int | None = None,
    running: bool | None = None,
    idle_seconds: float = 0.0,
    stall_timeout: float = 900.0,
) -> dict[str, t.Any]:
    """What vllm_log_info returns."""
    log = parse(restored(text)) if source == "container" else LogState()
    seen = Observation(now=_NOW, wanted=Wanted(stall_timeout=stall_timeout), log=log)
    if source == "docker":
        seen.container = _container("created", error=text.strip() or "no text")
        verdict = judge(seen)
    elif source == "journal":
        seen.unit, seen.unit_log = Unit("failed", "failed", "exit-code", 0, "", 0.0), text
        verdict = judge(seen)
    elif running:
        seen.container, seen.api = _container("running"), Api(error="refused")
        seen.last_log = _NOW - idle_seconds
        verdict = _ready(log) or judge(seen)
    elif exit_code is not None:
        seen.container = _container("exited", exit_code=exit_code)
        verdict = judge(seen)
    else:
        verdict = _by_the_log(log)
    hint = log.hint or (log.wait if verdict.verdict == "stuck" else None)
    return {
        "verdict": verdict.verdict,
        "phase": verdict.phase,
        "cause": as_dict(verdict.cause),
        "hint": as_dict(explain(hint)) if hint else None,
        "vllm_version": log.version,
        "last_line": log.last_line,
        "log_lines": log.lines,
    }


def _container(status: str, exit_code: int = 0, error: str = "") -> Container:
    return Container(
        name="",
        id="",
        status=status,
        exit_code=exit_code,
        oom_killed=False,
        error=error,
        started_at="",
        finished_at="",
        image="",
        restarts=0,
    )


def _ready(log: LogState) -> Verdict | None:
    """Whether a server that runs answers is not in its log."""
    return Verdict("ready", "ready") if log.ready and not (log.died or log.order()) else None


def _by_the_log(log: LogState) -> Verdict:
    """Nothing is known of the end: what the log itself shows."""
    ready = _ready(log)
    if ready:
        return ready
    phase = "server" if log.phase == "ready" else log.phase
    order = log.order()
    if order:
        return Verdict("failed", phase, condition("stopped", order))
    return Verdict("failed", phase, log.cause) if log.cause else Verdict("loading", phase)
