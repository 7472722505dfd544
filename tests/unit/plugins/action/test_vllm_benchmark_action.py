# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin: one call of the module for each run, a line for each, and what is kept if one fails."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.dgxspark.vllm.plugins.action import vllm_benchmark
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import polling

State = dict[str, t.Any]
CELLS = [
    {"name": name, "concurrency": number, "prompts": 8, "input_tokens": 32, "output_tokens": 16, "prefix_tokens": 0}
    for name, number in (("c1", 1), ("c8", 8))
]


class Stage:
    """Answers the calls of the module, on a clock that moves only with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 10.0) -> None:
        self.now, self.seconds = 0.0, seconds
        self.calls: list[State] = []
        self.lines: list[str] = []
        self.fails_at: int | None = None
        self.skips: dict[str, str] = {}
        self.failure: State = {}
        self.task = SimpleNamespace(async_val=0, check_mode=False, no_log=False, args={})
        monkeypatch.setattr(vllm_benchmark, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(polling, "is_wanted_on_screen", lambda: True)
        monkeypatch.setattr(polling.display, "display", self.lines.append)

    def fail(self) -> State:
        return self.failure

    def execute(self, module_name: str, module_args: State, task_vars: State) -> State:
        self.calls.append(module_args)
        self.now += self.seconds
        if len(self.calls) == self.fails_at:
            return self.fail()
        (cell,) = module_args["cells"]
        result = {"output_throughput": 402.06, "median_ttft_ms": 131.25, "median_tpot_ms": 6.4}
        run = {"cell": cell, "repetition": 1, "seed": module_args["seed"], "problem": None, "result": result}
        runs = [] if cell["name"] in self.skips else [run]
        return {
            "complete": True,
            "reason": None,
            "server": {"model": "a/b"},
            "runs": runs,
            "too_long": self.skips if not runs else {},
            "not_run": [],
        }

    def run(self, **options: t.Any) -> State:
        self.task.args = {"cells": CELLS, "repetitions": 2, "seed": 100, **options}
        action = vllm_benchmark.ActionModule(
            task=self.task,
            connection=MagicMock(),
            play_context=MagicMock(),
            loader=MagicMock(),
            templar=MagicMock(),
            shared_loader_obj=MagicMock(),
        )
        action._execute_module = self.execute
        return action.run(task_vars={"inventory_hostname": "a", "ansible_play_batch": ["a", "spark01"]})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_one_call_and_one_line_for_each_run(stage: Stage) -> None:
    found = stage.run()
    assert found["complete"] is True
    assert [(run["cell"]["name"], run["repetition"], run["seed"]) for run in found["runs"]] == [
        ("c1", 1, 100),
        ("c1", 2, 101),
        ("c8", 1, 102),
        ("c8", 2, 103),
    ]
    assert stage.lines[1] == "a        c1          2/2     402.1 tokens/s  TTFT 131.2 ms  TPOT 6.4 ms"
    assert len(stage.lines) == 4


def test_only_the_first_run_of_a_cell_waits_for_a_cool_gpu(stage: Stage) -> None:
    stage.run(settle_seconds=60)
    assert [call["settle_seconds"] for call in stage.calls] == [60, 0, 60, 0]


def test_the_time_is_for_all(stage: Stage) -> None:
    found = stage.run(timeout=45)
    assert [call["timeout"] for call in stage.calls] == [45, 35]
    assert found["reason"] == "the time is up: 45 s (timeout)"
    assert found["complete"] is False
    assert found["not_run"] == ["c8"]
    assert len(found["runs"]) == 2


def test_a_refusal_is_the_result(stage: Stage) -> None:
    stage.fails_at, stage.failure = 1, {"failed": True, "msg": "service vllm does not run on this host"}
    assert stage.run() == stage.failure


def test_what_was_measured_before_a_failure_is_kept(stage: Stage) -> None:
    stage.fails_at, stage.failure = 2, {"failed": True, "msg": "docker does not answer"}
    found = stage.run()
    assert not found.get("failed")
    assert found["reason"] == "c1: docker does not answer"
    assert len(found["runs"]) == 1
    assert found["not_run"] == ["c8"]


def test_a_lost_connection_is_not_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client may still run in the container, and a second one would disturb it."""

    def lost() -> State:
        raise AnsibleConnectionFailure("timed out")

    stage.fails_at = 3
    monkeypatch.setattr(stage, "fail", lost)
    found = stage.run()
    assert found["reason"] == "c8: the connection was lost: timed out"
    assert len(stage.calls) == 3
    assert len(found["runs"]) == 2
    assert found["not_run"] == ["c8"]


def test_a_cell_that_does_not_fit_is_asked_for_once(stage: Stage) -> None:
    stage.skips = {"c1": "needs 9000 tokens, the model is served with 4096"}
    found = stage.run()
    assert found["too_long"] == stage.skips
    assert found["complete"] is True
    assert len(stage.calls) == 3


def test_bad_options_reach_no_host(stage: Stage) -> None:
    found = stage.run(repetitions=0)
    assert found["msg"] == "repetitions: 0 is not allowed; use 1 or more"
    assert not stage.calls


def test_check_mode_is_one_call(stage: Stage) -> None:
    stage.task.check_mode = True
    stage.skips = {"c1": "x"}
    with pytest.raises(ValueError, match="too many values"):  # all cells at once, to the module itself
        stage.run()
    assert stage.calls == [stage.task.args]
