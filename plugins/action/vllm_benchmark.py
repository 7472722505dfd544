# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module of the same name once for each run, and shows each figure as it comes."""

from __future__ import annotations

import random
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.dgxspark.vllm.plugins.modules.vllm_benchmark import (
    LEAST_SECONDS,
    argument_spec,
    option_problem,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.polling import PollingAction, State, column


class ActionModule(PollingAction):
    module = "dgxspark.vllm.vllm_benchmark"
    field = "runs"

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> State:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        options = self.validate_argument_spec(argument_spec=argument_spec())[1]
        problem = option_problem(options)
        if problem:
            return {**result, "failed": True, "msg": problem}
        if self._task.check_mode:
            return {**result, **self.look(task_vars)}
        return {**result, **self._measure(options, task_vars)}

    def _measure(self, options: State, task_vars: State) -> State:
        deadline = time.monotonic() + options["timeout"]
        seed = options["seed"] if options["seed"] is not None else random.randrange(2**31)
        host = column(str(task_vars.get("inventory_hostname", "")), task_vars)
        total = options["repetitions"]
        state: State = {"changed": False, "complete": False, "reason": None, "runs": [], "too_long": {}, "not_run": []}
        for cell in options["cells"]:
            if state["reason"]:
                state["not_run"].append(cell["name"])
                continue
            for repetition in range(1, total + 1):
                left = int(deadline - time.monotonic())
                if left < LEAST_SECONDS:
                    state["reason"] = f"the time is up: {options['timeout']} s (timeout)"
                    break
                found = self._look(task_vars, cell, repetition, seed + len(state["runs"]), left)
                if "runs" not in found and not state["runs"]:  # refused, or the module itself failed
                    return found
                if "runs" not in found:
                    state["reason"] = f"{cell['name']}: {found.get('msg')}"
                    break
                state.setdefault("server", found["server"])
                state["too_long"].update(found["too_long"])
                state["reason"] = found["reason"]
                for run in found["runs"]:
                    state["runs"].append({**run, "repetition": repetition})
                    self.show([shown(host, state["runs"][-1], total)])
                if found["too_long"] or state["reason"]:
                    break
            if state["reason"] and not any(run["cell"]["name"] == cell["name"] for run in state["runs"]):
                state["not_run"].append(cell["name"])
        state["complete"] = not state["reason"]
        return state

    def _look(self, task_vars: State, cell: State, repetition: int, seed: int, left: int) -> State:
        """One run. Never again after a lost connection: the client may still run in the container."""
        more: State = {"cells": [cell], "repetitions": 1, "seed": seed, "timeout": left}
        if repetition > 1:
            more["settle_seconds"] = 0
        try:
            return self.look(task_vars, **more)
        except AnsibleConnectionFailure as error:
            return {"failed": True, "unreachable": True, "msg": f"the connection was lost: {error}"}


def shown(host: str, run: t.Mapping[str, t.Any], repetitions: int) -> str:
    """The line of a run: host, cell, repetition, tokens per second and latencies."""
    begin = f"{host}  {run['cell']['name']:<10}  {run['repetition']}/{repetitions}"
    result = run["result"]
    if run["problem"] or not result:
        return f"{begin}  failed: {run['problem']}"
    figures = [f"{result['output_throughput'] or 0:8.1f} tokens/s"]
    figures += [f"{name.upper()} {result[f'median_{name}_ms'] or 0:.1f} ms" for name in ("ttft", "tpot")]
    return f"{begin}  {'  '.join(figures)}"
