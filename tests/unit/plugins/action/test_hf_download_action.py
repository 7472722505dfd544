# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin, with looks that are played to it and a clock that moves only when it sleeps."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.dgxspark.vllm.plugins.action import hf_download
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer.download_causes import own_cause
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import polling

State = dict[str, t.Any]
WHOLE = 9_400_000_000


def look(status: str = "running", **values: t.Any) -> State:
    state: State = {
        "changed": False,
        "status": status,
        "commit": "c",
        "snapshot": None,
        "files": [],
        "missing": [],
        "removed": [],
        "bytes": 0,
        "expected_bytes": WHOLE,
        "client": None,
        "joined": False,
        "container": "f" * 12 if status == "running" else None,
        "cause": None,
    }
    return {**state, **values}


FIRST = look(changed=True, files=[{"name": "a", "bytes": WHOLE}], missing=["a"], removed=["x"], client="0.34.4")
DONE = look("complete", changed=True, bytes=WHOLE, snapshot="/s")
COMPLETE = look("complete", bytes=WHOLE, snapshot="/s")
GONE = look("gone")
FAILED = look("failed", cause=own_cause("hub_error", "503"))


class Stage:
    """Plays looks to the action plugin, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.looks: list[State | Exception] = []
        self.calls: list[State] = []
        self.lines: list[tuple[float, str]] = []
        self.connection = MagicMock()
        self.task = SimpleNamespace(async_val=0, check_mode=False, no_log=False, args={})
        for module in (hf_download, polling):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))
        monkeypatch.setattr(polling.display, "display", lambda line: self.lines.append((self.now, line)))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def execute(self, module_name: str, module_args: State, task_vars: State) -> State:
        self.calls.append(module_args)
        self.now += 0.5
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Exception):
            raise found
        return dict(found)

    def run(self, *looks: State | Exception, **options: t.Any) -> State:
        batch = options.pop("batch", ["spark01"])
        self.looks = list(looks)
        self.task.args = {"model": "o/n", "image": "i", **options}
        action = hf_download.ActionModule(
            self.task, self.connection, MagicMock(), MagicMock(), MagicMock(), MagicMock()
        )
        action._execute_module = self.execute
        found: State = action.run(task_vars={"inventory_hostname": "spark01", "ansible_play_batch": batch})
        return found

    def said(self) -> list[str]:
        return [line for _when, line in self.lines]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_a_complete_model_is_one_silent_look(stage: Stage) -> None:
    found = stage.run(COMPLETE)
    assert (found["changed"], found["status"], "failed" in found, len(stage.calls)) == (False, "complete", False, 1)
    assert stage.lines == []


def test_a_download_with_progress(stage: Stage) -> None:
    looks = [look(bytes=n * 400_000_000) for n in range(1, 23)]
    found = stage.run(FIRST, *looks, DONE)
    lines = stage.said()
    assert lines[0] == "spark01 | download  | 0 % | 0.0 of 9.4 GB"
    assert lines[-1].startswith("spark01 | download  | done | 9.4 GB in ")
    assert all("MB/s" in line and line.endswith("left") for line in lines[1:-1])
    assert len(lines) > 3
    times = [when for when, _line in stage.lines[:-1]]
    assert all(after - before >= 10 for before, after in zip(times, times[1:], strict=False))
    assert (found["changed"], found["files"], found["removed"], found["client"]) == (
        True,
        FIRST["files"],
        ["x"],
        "0.34.4",
    )
    assert (found["status"], found["snapshot"], found["container"]) == ("complete", "/s", "f" * 12)
    assert all(call.get("follow") == "f" * 12 for call in stage.calls[1:])


def test_check_mode_is_one_look(stage: Stage) -> None:
    stage.task.check_mode = True
    found = stage.run(look("missing", changed=True, missing=["a"], diff={"before": "", "after": "a 1\n"}))
    assert (found["status"], found["changed"], found["diff"]["after"]) == ("missing", True, "a 1\n")
    assert (len(stage.calls), stage.lines) == (1, [])


def test_a_failure_is_one_line(stage: Stage) -> None:
    found = stage.run(FIRST, FAILED, path="/hf")
    assert (found["failed"], found["changed"], found["cause"]["id"]) == (True, False, "hub_error")
    assert found["msg"] == (
        "o/n cannot be downloaded to /hf on spark01: the hub answers with an error of its own. Remedy: try again later,"
        " or name a mirror with vllm_hf_endpoint. Seen: 503. More: docs/reference/download.md#hub_error."
    )
    assert "files" not in found


def test_offline_says_so(stage: Stage) -> None:
    assert stage.run(FAILED, offline=True)["msg"].startswith("o/n is not complete in /opt/hf on spark01: ")


def test_nothing_moves(stage: Stage) -> None:
    found = stage.run(FIRST, look(bytes=5), look(bytes=5), stall_timeout=60)
    assert (found["failed"], found["cause"]["id"]) == (True, "hub_silent")
    assert "nothing came for 6" in found["msg"]
    assert (stage.calls[-1]["follow"], stage.calls[-1]["cancel"]) == ("f" * 12, True)
    assert 60 <= stage.now < 70


def test_a_slow_download_takes_as_long_as_it_wants(stage: Stage) -> None:
    looks = [look(bytes=n) for n in range(1000)]
    assert stage.run(FIRST, *looks, DONE, stall_timeout=30)["status"] == "complete"
    assert stage.now > 3600


def test_joined(stage: Stage) -> None:
    found = stage.run(look(joined=True, bytes=WHOLE // 2), DONE)
    assert stage.said()[0] == "spark01 | download  | joins the download that is already running"
    assert (found["changed"], found["joined"], found["status"]) == (True, True, "complete")


def test_the_other_one_saw_the_end_first(stage: Stage) -> None:
    found = stage.run(look(joined=True), GONE, COMPLETE)
    assert (found["changed"], found["joined"], found["status"]) == (True, True, "complete")
    assert "follow" not in stage.calls[-1]


def test_the_other_one_failed_and_this_one_tries_itself(stage: Stage) -> None:
    found = stage.run(look(joined=True), FAILED, FIRST, DONE)
    assert (found["changed"], found["status"]) == (True, "complete")


def test_it_does_not_try_for_ever(stage: Stage) -> None:
    found = stage.run(look(joined=True), FAILED, look(joined=True), FAILED, look(joined=True), FAILED)
    assert (found["failed"], found["cause"]["id"], len(stage.calls)) == (True, "hub_error", 6)
    stage.calls.clear()
    found = stage.run(FIRST, GONE, FIRST, GONE, FIRST, GONE)
    assert (found["failed"], found["cause"]["id"], len(stage.calls)) == (True, "client_killed", 6)


def test_a_lost_connection_is_made_again(stage: Stage) -> None:
    gone = AnsibleConnectionFailure("gone")
    stage.connection.reset.side_effect = RuntimeError("cannot")
    assert stage.run(FIRST, gone, gone, DONE)["status"] == "complete"
    assert stage.connection.reset.call_count == 2
    with pytest.raises(AnsibleConnectionFailure):
        stage.run(FIRST, gone)


def test_a_module_that_was_cut_off_runs_again(stage: Stage) -> None:
    cut: State = {"failed": True, "msg": "MODULE FAILURE", "module_stderr": "Shared connection closed"}
    assert stage.run(FIRST, cut, DONE)["status"] == "complete"
    assert stage.run(FIRST, cut)["msg"] == "MODULE FAILURE"


def test_a_module_that_refuses_its_options_is_believed(stage: Stage) -> None:
    assert stage.run({"failed": True, "msg": "no"}) == {"failed": True, "msg": "no"}
    assert len(stage.calls) == 1


@pytest.mark.parametrize("options", [{"stall_timeout": "soon"}, {"watt": True}])
def test_bad_options(stage: Stage, options: State) -> None:
    with pytest.raises(AnsibleActionFail):
        stage.run(COMPLETE, **options)


def test_silent_for_machines_and_for_secrets(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.task.no_log = True
    stage.run(FIRST, DONE)
    stage.task.no_log = False
    monkeypatch.setattr("ansible.constants.DEFAULT_STDOUT_CALLBACK", "ansible.posix.jsonl")
    stage.run(FIRST, DONE)
    assert stage.lines == []


def test_hosts_stand_in_a_column(stage: Stage) -> None:
    stage.run(FIRST, DONE, batch=["spark01", "spark-with-a-long-name"])
    assert stage.said()[0] == "spark01                | download  | 0 % | 0.0 of 9.4 GB"
