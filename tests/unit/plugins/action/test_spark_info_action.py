# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the clock of a host is off, as far as a call of some seconds can tell."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible_collections.dgxspark.vllm.plugins.action import spark_info

from support.playbook import THIS_MACHINE, AnsiblePlaybook


def run(monkeypatch: pytest.MonkeyPatch, answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """The call takes three seconds."""
    times = iter((1000.25, 1003.25))
    monkeypatch.setattr(spark_info, "time", SimpleNamespace(time=lambda: next(times)))
    task = SimpleNamespace(async_val=0, check_mode=False, no_log=False, args={})
    action = spark_info.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    action._execute_module = lambda task_vars, wrap_async: answer
    found: dict[str, t.Any] = action.run(task_vars={})
    return found


@pytest.mark.parametrize(
    ("read", "clock"),
    [
        (1000, {"least": -3.2, "most": 0.8}),  # it has whole seconds
        (1003, {"least": -0.2, "most": 3.8}),
        (4602, {"least": 3598.8, "most": 3602.8}),
    ],
)
def test_the_clock_of_the_host_is_between_two_of_the_controller(
    monkeypatch: pytest.MonkeyPatch, read: int, clock: dict[str, float]
) -> None:
    found = run(monkeypatch, {"changed": False, "spark": {"time": read}})
    assert found["spark"] == {"time": read}
    assert found["clock"] == pytest.approx(clock, abs=0.06)


def test_a_call_that_failed_says_what_the_module_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, {"failed": True, "msg": "no"}) == {"failed": True, "msg": "no"}


def test_it_also_runs_in_the_background(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    tasks = [
        {"dgxspark.vllm.spark_info": {}, "async": 60, "poll": 1, "register": "read"},
        {"ansible.builtin.assert": {"that": ["read.spark.time > 0", "read.clock is not defined"]}},
    ]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "spark", "gather_facts": False, "tasks": tasks}]))
    # where HOME is not the user's own, the default is one folder for the job and another for who asks for it
    host = {**THIS_MACHINE, "ansible_async_dir": str(tmp_path / "async")}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"spark": host}}}))
    done = ansible_playbook("play.yml", inventory="hosts.yml", folder=tmp_path)
    assert done.code == 0, done.output
