# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads a model with the module of the same name: waits for it, and shows how far it is."""

from __future__ import annotations

import time

from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_causes import own_cause
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.set_aside import Own
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.progress import Progress, duration
from ansible_collections.dgxspark.vllm.plugins.modules.hf_download import argument_spec
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.polling import (
    PollingAction,
    State,
    column,
    display,
    message,
)

SLOWEST_POLL = 4.0
# Somebody else's download may end without our files: another revision, a token that was refused.
ROUNDS = 3
# Ansible prints all of a failed result: only what helps is left in it.
ON_FAILURE = ("status", "cause", "commit", "missing", "bytes", "expected_bytes")


class ActionModule(PollingAction):
    module = "dgxspark.vllm.hf_download"
    field = "status"

    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: State | None = None) -> State:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        options = self.validate_argument_spec(argument_spec=argument_spec())[1]
        begin = time.monotonic()
        host = str(task_vars.get("inventory_hostname", ""))
        first: State = {}
        found: State = {}
        for _round in range(ROUNDS):
            found = self.look_again(task_vars)
            if not first:
                first = found
                for own in found.get("set_aside", []):
                    display.warning(f"{host}: {Own(**own)}")
            if found.get("status") != "running":
                break
            found = self._wait(found, options, task_vars, Progress(column(host, task_vars), time.monotonic()))
            if found.get("status") != "gone" and not (found.get("status") == "failed" and found["joined"]):
                break
        if "status" not in found:  # the module itself failed
            return found
        found["seconds"] = round(time.monotonic() - begin, 1)
        return {**result, **outcome(first, found, options, host)}

    def _wait(self, state: State, options: State, task_vars: State, progress: Progress) -> State:
        """Follow a container until it ends, or nothing moves for too long."""
        joined, container = state["joined"], state["container"]
        if joined:
            self.show([f"{progress.host} | {'download':<9} | joins the download that is already running"])
        moved, size = time.monotonic(), state["bytes"]
        pause = options["poll_interval"]
        while state["status"] == "running":
            now = time.monotonic()
            if state["bytes"] != size:
                moved, size = now, state["bytes"]
            self.show(progress.lines(as_progress(state), now))
            if now - moved >= options["stall_timeout"]:
                state = self.look_again(task_vars, follow=container, cancel=True)
                evidence = f"nothing came for {duration(now - moved)}"
                return {**state, "status": "failed", "cause": own_cause("hub_silent", evidence), "joined": joined}
            time.sleep(pause)
            pause = min(pause * 1.2, max(SLOWEST_POLL, options["poll_interval"]))
            state = self.look_again(task_vars, follow=container)
            if "status" not in state:
                return state
        if state["status"] == "complete":
            self.show(progress.lines(as_progress(state, phase="ready"), time.monotonic()))
        return {**state, "joined": joined}


def as_progress(state: State, phase: str = "download") -> State:
    """The look in the words of vllm_health, whose lines these are."""
    numbers = ("shards_done", "shards_total", "compile_seconds", "capture_done", "capture_total", "capture_seconds")
    progress = {**dict.fromkeys(numbers), "bytes": state["bytes"], "expected_bytes": state["expected_bytes"]}
    return {"phase": phase, "progress": progress, "hint": None, "kv_cache_tokens": None, "max_concurrency": None}


def outcome(first: State, last: State, options: State, host: str) -> State:
    """One result of what the first look planned and the last one found."""
    if last["status"] == "failed" or last["status"] in ("gone", "running"):
        cause = last["cause"] or own_cause("client_killed", "the container went away")
        what = "is not complete in" if options["offline"] else "cannot be downloaded to"
        kept = {name: last[name] for name in ON_FAILURE if name in last}
        return {
            **kept,
            "status": "failed",
            "cause": cause,
            "changed": False,
            "failed": True,
            "set_aside": first.get("set_aside", []),
            "seconds": last["seconds"],
            "msg": message(f"{options['model']} {what} {options['path']} on {host}", cause),
        }
    planned: State = {
        name: first[name] for name in ("files", "missing", "removed", "set_aside", "joined", "diff") if name in first
    }
    followed = first["status"] == "running"
    return {
        **last,
        **planned,
        "client": last["client"] or first["client"],
        "container": last["container"] or first["container"],
        "changed": last["changed"] or followed,
    }
