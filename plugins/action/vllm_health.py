# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for a vLLM server with the module of the same name, and shows how far it is."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import as_dict, condition
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import PHASE_TIMEOUTS
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.progress import Progress, duration
from ansible_collections.dgxspark.vllm.plugins.modules.vllm_health import argument_spec
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.clock import compared
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.polling import (
    PollingAction,
    State,
    column,
    message,
)

SLOWEST_POLL = 3.0
# After a bad look the next one follows soon: it only has to confirm what was seen.
CONFIRM_AFTER = 1.0
# A sign that may pass (a server that listens a moment after it says so) must be seen so often.
SEEN_TWICE, SEEN_OFTEN = 2, 3
# Ansible prints all of a failed result: only what helps is left in it.
ON_FAILURE = ("changed", "verdict", "phase", "cause", "last_line", "seconds")


class ActionModule(PollingAction):
    module = "dgxspark.vllm.vllm_health"
    field = "verdict"

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> State:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        options = self.validate_argument_spec(argument_spec=argument_spec())[1]
        options["phase_timeouts"] = phase_timeouts(options["phase_timeouts"])
        if not options["wait"] or self._task.check_mode:
            before = time.time()
            state = self.look(task_vars)
            if "spark" in state:
                state["clock"] = compared(state["spark"]["time"], before, time.time())
            return {**result, **state}
        return {**result, **self._wait(options, task_vars)}

    def _wait(self, options: State, task_vars: dict[str, t.Any]) -> State:
        begin = time.monotonic()
        host = str(task_vars.get("inventory_hostname", ""))
        progress = Progress(column(host, task_vars), begin)
        watch = Watch(options, begin)
        pause = options["poll_interval"]
        while True:
            state = self.look_again(task_vars)
            if "verdict" not in state:  # the module itself failed
                return state
            now = time.monotonic()
            state["seconds"] = round(now - begin, 1)
            problem = watch.judge(state, now)
            if problem is not None:
                return {
                    **{name: problem[name] for name in ON_FAILURE},
                    "failed": True,
                    "msg": message(subject(problem, options["container"], host), problem["cause"]),
                }
            if state["verdict"] == "ready":
                self.show([] if watch.looks == 1 else progress.lines(state, now))
                self.show([progress.ready(state, now)])
                return state
            self.show(progress.lines(state, now))
            state["progress"]["rate_bps"] = int(progress.rate.per_second or 0)
            time.sleep(min(pause, CONFIRM_AFTER) if watch.is_worried else pause)
            pause = min(pause * 1.2, max(SLOWEST_POLL, options["poll_interval"]))


def phase_timeouts(wishes: t.Mapping[str, t.Any]) -> dict[str, float]:
    """The limits, with the wishes of the user over them; one clear line for a wish that makes no sense."""
    for phase, seconds in wishes.items():
        if phase not in PHASE_TIMEOUTS:
            raise AnsibleActionFail(f"phase_timeouts: {phase} is not allowed; use {', '.join(PHASE_TIMEOUTS)}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
            raise AnsibleActionFail(f"phase_timeouts: {phase}: {seconds} is not allowed; use seconds, more than 0")
    return {**PHASE_TIMEOUTS, **wishes}


class Watch:
    """Compares one look with those before it: what is over, what moves, and for how long it did not."""

    def __init__(self, options: t.Mapping[str, t.Any], begin: float) -> None:
        self.timeout: int = options["timeout"]
        self.phase_timeouts: t.Mapping[str, float] = options["phase_timeouts"]
        self.looks = 0
        self._restarts: int | None = None
        self._bytes: int | None = None
        self._grows = False  # the download has grown since the last look
        self._last_look = begin
        self._waited = 0.0  # without the time of a download that moved
        self._phase: str | None = None
        self._phase_waited = 0.0
        self._bad: State | None = None  # the last look that was not ready or loading
        self._bad_looks = 0
        self._loading: str | None = None  # start, as Docker tells it, of the attempt that was last seen to load

    @property
    def is_worried(self) -> bool:
        """The last look was bad, and has yet to be confirmed."""
        return self._bad is not None

    def judge(self, state: State, now: float) -> State | None:
        """None to go on, or the state to fail with."""
        self.looks += 1
        self._follow(state, now)
        verdict = state["verdict"]
        restarts = _restarts(state)
        if self._restarts is None:
            self._restarts = restarts
        if verdict == "ready":
            return None
        if restarts > self._restarts:
            return self._restarted(state)
        if verdict == "loading" or (verdict == "stuck" and self._grows):
            self._bad, self._bad_looks = None, 0
            self._loading = (state["container"] or {}).get("started_at")
            return self._too_slow(state)
        if self._has_ended(state):
            return state
        self._bad_looks = self._bad_looks + 1 if self._bad and self._bad["verdict"] == verdict else 1
        # the first look may have caught half of a traceback, the second one half of a log
        if not (self._bad and self._bad["verdict"] == verdict and _is_vague(state) and not _is_vague(self._bad)):
            self._bad = state
        return self._bad if self._bad_looks >= (SEEN_OFTEN if verdict == "degraded" else SEEN_TWICE) else None

    def _has_ended(self, state: State) -> bool:
        """The attempt that was loading is over, and its log says why: a second look could only see the next attempt."""
        container = state["container"] or {}
        ended = container.get("status") == "exited" and container.get("exit_code") != 0
        return ended and container.get("started_at") == self._loading and not _is_vague(state)

    def _follow(self, state: State, now: float) -> None:
        size = state["progress"]["bytes"]
        self._grows = size is not None and self._bytes is not None and size > self._bytes
        if state["phase"] != self._phase:
            self._phase, self._phase_waited = state["phase"], 0.0
        if not (state["phase"] == "download" and self._grows):
            self._waited += now - self._last_look
            self._phase_waited += now - self._last_look
        self._bytes, self._last_look = size, now

    def _restarted(self, state: State) -> State:
        cause = state["cause"] or state["previous_cause"] or (self._bad or {}).get("cause")
        return {**state, "verdict": "failed", "cause": cause or _cause("restarting", state["last_line"])}

    def _too_slow(self, state: State) -> State | None:
        limit = self.phase_timeouts.get(state["phase"])
        if limit is not None and self._phase_waited >= limit:
            evidence = f"{state['phase']}: {duration(self._phase_waited)}; last line: {state['last_line']}"
            return {**state, "cause": _cause("phase_timeout", evidence)}
        if self._waited >= self.timeout:
            evidence = f"{duration(self._waited)}; last line: {state['last_line']}"
            return {**state, "cause": _cause("timeout", evidence)}
        return None


def _restarts(state: State) -> int:
    return sum((state[part] or {}).get("restarts", 0) for part in ("container", "service"))


def _is_vague(state: State) -> bool:
    """No signature knows the cause: half of a log may have been read."""
    cause = state["cause"] or {}
    return not cause.get("certain", True) or cause.get("id") in (None, "engine_init_generic", "exited", "unit_failed")


def _cause(name: str, evidence: str) -> State | None:
    return as_dict(condition(name, evidence))


def subject(state: t.Mapping[str, t.Any], container: str, host: str) -> str:
    """What of the service failed, and where."""
    verdict = {"failed": "failed", "loading": "is not ready", "absent": "is gone or was never there"}.get(
        state["verdict"], f"is {state['verdict']}"
    )
    where = f" in phase {state['phase']}" if state["phase"] else ""
    return f"{container} on {host} {verdict}{where}"
