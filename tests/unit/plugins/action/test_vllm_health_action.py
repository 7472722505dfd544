# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin, with looks that are played to it and a clock that moves only when it sleeps."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.dgxspark.vllm.plugins.action import vllm_health
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import place
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.causes import Cause, as_dict, condition
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import polling
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import screen

State = dict[str, t.Any]


def told(cause: str) -> Cause:
    if cause == "unknown_exception":  # no signature knows it
        return place.explain(place.family(cause), "the line", [])
    return condition(cause, "the line")


def look(verdict: str = "loading", phase: str | None = "container", cause: str | None = None, **values: t.Any) -> State:
    progress = dict.fromkeys(
        (
            "percent",
            "bytes",
            "expected_bytes",
            "shards_done",
            "shards_total",
            "compile_seconds",
            "capture_done",
            "capture_total",
            "capture_seconds",
        )
    )
    restarts = values.pop("restarts", 0)
    state: State = {
        "changed": False,
        "verdict": verdict,
        "phase": phase,
        "cause": as_dict(told(cause)) if cause else None,
        "previous_cause": None,
        "hint": None,
        "kv_cache_tokens": None,
        "max_concurrency": None,
        "max_model_len": None,
        "completion": None,
        "container": {"name": "vllm-x", "restarts": 0, "started_at": "t"},
        "service": {"active_state": "active", "restarts": restarts},
        "last_line": "the last line",
        "log_lines": 7,
        "progress": progress,
    }
    for name, value in values.items():
        (progress if name in progress else state)[name] = value
    return state


READY = look("ready", "ready", completion={"text": " I", "tokens": 1, "seconds": 0.31})
FAILED = look("failed", "load", "exited")


class Stage:
    """Plays looks to the action plugin, the last one for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds_per_look: float = 0.5) -> None:
        self.now = 0.0
        self.seconds_per_look = seconds_per_look
        self.looks: list[State | Exception] = []
        self.calls: list[State] = []
        self.lines: list[str] = []
        self.connection = MagicMock()
        self.task = SimpleNamespace(async_val=0, check_mode=False, no_log=False, args={})
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now, sleep=self.sleep)
        for module in (vllm_health, polling):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(polling.display, "display", self.lines.append)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def execute(self, module_name: str, module_args: State, task_vars: State) -> State:
        self.calls.append(module_args)
        self.now += self.seconds_per_look
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Exception):
            raise found
        return {**found, "progress": dict(found["progress"])} if "progress" in found else dict(found)

    def run(self, *looks: State | Exception, **options: t.Any) -> State:
        batch = options.pop("batch", ["spark01"])
        self.looks = list(looks)
        self.task.args = {"container": "vllm-x", "wait": True, **options}
        action = vllm_health.ActionModule(
            self.task, self.connection, MagicMock(), MagicMock(), MagicMock(), MagicMock()
        )
        action._execute_module = self.execute
        found: State = action.run(task_vars={"inventory_hostname": "spark01", "ansible_play_batch": batch})
        return found


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_start_with_progress(stage: Stage) -> None:
    found = stage.run(
        look(),
        look(phase="load", shards_done=0, shards_total=2),
        look(phase="load", shards_done=1, shards_total=2),
        look(phase="compile", shards_done=2, shards_total=2),
        {**READY, "progress": {**READY["progress"], "shards_done": 2, "shards_total": 2}, "kv_cache_tokens": 623_104},
    )
    assert stage.lines == [
        "spark01 | container | started",
        "spark01 | load      | shards 0/2 | 0 %",
        "spark01 | load      | shards 1/2 | 50 %",
        "spark01 | load      | shards 2/2 | 100 %",
        "spark01 | compile   | started",
        "spark01 | kv_cache  | 623,104 tokens",
        "spark01 | ready     | 13 s | 1 token in 0.3 s",
    ]
    assert (found["verdict"], found["changed"], "failed" in found) == ("ready", False, False)
    assert found["seconds"] == pytest.approx(12.8, abs=0.1)


def test_ready_at_once_is_one_line(stage: Stage) -> None:
    done = {**READY, "kv_cache_tokens": 623_104}
    assert stage.run(done)["verdict"] == "ready"
    assert stage.lines == ["spark01 | ready     | 0 s | 1 token in 0.3 s"]


def test_at_most_a_line_in_ten_seconds_when_nothing_changes(stage: Stage) -> None:
    stage.run(*[look(phase="compile")] * 20, READY)
    assert len(stage.lines) <= 2 + stage.now / 10


def test_polls_slow_down_to_three_seconds(stage: Stage) -> None:
    stage.run(*[look()] * 30, READY)
    assert 70 < stage.now < 30 * 3.5


EXITED = {"name": "vllm-x", "restarts": 0, "status": "exited", "exit_code": 1}


def test_an_attempt_that_ended_for_a_known_reason_is_over_at_once(stage: Stage) -> None:
    gated = look("failed", "container", "start_error", container={**EXITED, "started_at": "t"})
    before = stage.run(look(), look(), READY)["seconds"]
    assert stage.run(look(), look(), gated)["seconds"] == before


@pytest.mark.parametrize(
    ("cause", "started"),
    [("start_error", "yesterday"), ("unknown_exception", "t")],
)
def test_an_end_of_another_attempt_or_for_no_known_reason_is_looked_at_again(
    stage: Stage, cause: str, started: str
) -> None:
    ended = look("failed", "container", cause, container={**EXITED, "started_at": started})
    assert stage.run(look(), ended, READY)["verdict"] == "ready"


def test_a_bad_look_is_confirmed_soon(stage: Stage) -> None:
    looks = [look()] * 30
    stage.run(*looks, READY)
    before = stage.now
    stage.run(*looks, FAILED)
    # the look that replaces READY, a second, and the one that confirms it
    assert stage.now - 2 * before == pytest.approx(1.5)


def test_download_shows_rate_and_returns_it(stage: Stage) -> None:
    looks = [look(phase="download", bytes=n * 200_000_000, expected_bytes=9_400_000_000) for n in range(8)]
    found = stage.run(*looks, FAILED)
    assert found["failed"]
    assert any("MB/s" in line and "left" in line for line in stage.lines)


def test_module_gets_the_options_as_they_were_written(stage: Stage) -> None:
    stage.run(READY, model="m", env_file="~/.env")
    assert stage.calls == [{"container": "vllm-x", "wait": True, "model": "m", "env_file": "~/.env"}]


def test_without_wait_it_looks_once_and_never_fails(stage: Stage) -> None:
    found = stage.run(FAILED, wait=False)
    assert (found["verdict"], "failed" in found, len(stage.calls), stage.lines) == ("failed", False, 1, [])


def test_with_the_host_it_compares_the_clocks(stage: Stage) -> None:
    found = stage.run({**FAILED, "spark": {"time": int(stage.now) + 60}}, wait=False, read_host={})
    assert found["clock"]["least"] <= 60 <= found["clock"]["most"]
    assert "clock" not in stage.run(FAILED, wait=False)


def test_check_mode_looks_once(stage: Stage) -> None:
    stage.task.check_mode = True
    found = stage.run(look())
    assert (found["verdict"], "failed" in found, len(stage.calls), stage.lines) == ("loading", False, 1, [])


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"watt": True}])
def test_bad_options(stage: Stage, options: State) -> None:
    with pytest.raises(AnsibleActionFail):
        stage.run(READY, **options)


def test_failure_stops_within_seconds_with_one_line(stage: Stage) -> None:
    found = stage.run(look(), look("failed", "load", "killed"))
    assert found["failed"]
    assert stage.now < 10
    assert found["msg"] == (
        "vllm-x on spark01 failed in phase load: the server was killed (exit code 137): by the kernel for lack of"
        " memory, by earlyoom, or by hand. Remedy: check `dmesg` for `out of memory` and `journalctl -u earlyoom`; if"
        " one of them names vLLM, lower vllm_gpu_memory_utilization. Seen: the line."
        " More: docs/troubleshooting.md#killed."
    )


def test_end_of_yesterday_is_forgiven(stage: Stage) -> None:
    assert stage.run(FAILED, look(), READY)["verdict"] == "ready"


def test_second_look_may_know_more(stage: Stage) -> None:
    found = stage.run(look("failed", "load", "unknown_exception"), look("failed", "load", "oom_killed"))
    assert found["cause"]["id"] == "oom_killed"


def test_second_look_may_know_less(stage: Stage) -> None:
    found = stage.run(look("failed", "load", "oom_killed"), look("failed", "load", "exited"))
    assert found["cause"]["id"] == "oom_killed"


def test_degraded_needs_three_looks(stage: Stage) -> None:
    slow = look("degraded", "server", "no_answer")
    assert stage.run(slow, slow, READY)["verdict"] == "ready"
    found = stage.run(slow)
    assert (found["failed"], found["verdict"], found["cause"]["id"]) == (True, "degraded", "no_answer")


def test_container_that_goes_away(stage: Stage) -> None:
    found = stage.run(look(), look("absent", None, "absent", container=None))
    assert found["failed"]
    assert found["msg"].startswith("vllm-x on spark01 is gone or was never there: there is no such container. Remedy:")


def test_restart_by_the_unit(stage: Stage) -> None:
    again = look(restarts=1, previous_cause=as_dict(condition("oom_killed", "x")))
    found = stage.run(look(), again)
    assert (found["failed"], found["verdict"], found["cause"]["id"]) == (True, "failed", "oom_killed")


def test_restart_after_a_failure_that_was_seen(stage: Stage) -> None:
    found = stage.run(look(), look("failed", "load", "killed"), look(restarts=1))
    assert found["cause"]["id"] == "killed"


def test_restart_that_nobody_can_explain(stage: Stage) -> None:
    assert stage.run(look(), look(restarts=1))["cause"]["id"] == "restarting"


def test_restarts_of_the_past_do_not_count(stage: Stage) -> None:
    assert stage.run(look(restarts=3), {**READY, "service": {"restarts": 3}})["verdict"] == "ready"


STUCK = look("stuck", "compile", "stuck")


def test_stuck(stage: Stage) -> None:
    found = stage.run(look(phase="compile"), STUCK)
    assert (found["failed"], found["verdict"], found["cause"]["id"]) == (True, "stuck", "stuck")


def test_growing_download_is_not_stuck_and_not_late(stage: Stage) -> None:
    looks = [look("stuck", "download", "stuck", bytes=n * 1000) for n in range(2, 200)]
    first = look(phase="download", bytes=1000)
    found = stage.run(first, *looks, READY, timeout=60)
    assert found["verdict"] == "ready"
    assert stage.now > 600


@pytest.mark.parametrize(("phase", "limit"), [("load", 2700), ("compile", 1800), ("container", 900)])
def test_a_phase_has_its_limit(stage: Stage, phase: str, limit: int) -> None:
    found = stage.run(look(phase=phase), timeout=99999)
    assert (found["failed"], found["cause"]["id"]) == (True, "phase_timeout")
    assert f"Seen: {phase}: {limit // 60} min" in found["msg"]
    assert limit <= stage.now < limit + 10


def test_a_limit_that_the_user_sets(stage: Stage) -> None:
    found = stage.run(look(phase="load"), phase_timeouts={"load": 60})
    assert found["cause"]["id"] == "phase_timeout"
    assert 60 <= stage.now < 70


def test_a_download_has_no_limit_while_it_moves(stage: Stage) -> None:
    looks = [look(phase="download", bytes=n * 1000) for n in range(1, 2000)]
    assert stage.run(*looks, READY, timeout=60)["verdict"] == "ready"
    assert stage.now > 3600


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"lode": 60}, "phase_timeouts: lode is not allowed; use container, load,"),
        ({"download": 60}, "phase_timeouts: download is not allowed"),
        ({"load": 0}, "phase_timeouts: load: 0 is not allowed; use seconds, more than 0"),
        ({"load": "soon"}, "phase_timeouts: load: soon is not allowed"),
        ({"load": True}, "phase_timeouts: load: True is not allowed"),
    ],
)
def test_bad_limits(stage: Stage, limits: State, words: str) -> None:
    with pytest.raises(AnsibleActionFail, match=words):
        stage.run(READY, phase_timeouts=limits)
    assert stage.calls == []


def test_timeout(stage: Stage) -> None:
    looks = [look(phase="load", log_lines=n) for n in range(200)]
    found = stage.run(*looks, timeout=60)
    assert (found["failed"], found["verdict"], found["cause"]["id"]) == (True, "loading", "timeout")
    assert "vllm-x on spark01 is not ready in phase load: the server was not ready in time." in found["msg"]
    assert 60 < stage.now < 70


def test_lost_connection_is_made_again(stage: Stage) -> None:
    gone = AnsibleConnectionFailure("gone")
    stage.connection.reset.side_effect = RuntimeError("cannot")
    assert stage.run(look(), gone, gone, READY)["verdict"] == "ready"
    assert stage.connection.reset.call_count == 2


def test_lost_connection_that_stays_lost(stage: Stage) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        stage.run(look(), AnsibleConnectionFailure("gone"))


def test_module_that_was_cut_off_runs_again(stage: Stage) -> None:
    cut: State = {"failed": True, "msg": "MODULE FAILURE", "module_stderr": "Shared connection closed"}
    assert stage.run(look(), cut, READY)["verdict"] == "ready"
    assert stage.run(cut)["msg"] == "MODULE FAILURE"


def test_module_that_refuses_its_options_is_believed(stage: Stage) -> None:
    assert stage.run({"failed": True, "msg": "no"}) == {"failed": True, "msg": "no"}
    assert len(stage.calls) == 1


def test_silent_for_machines_and_for_secrets(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.task.no_log = True
    stage.run(look(), READY)
    stage.task.no_log = False
    monkeypatch.setattr(screen.C, "DEFAULT_STDOUT_CALLBACK", "ansible.posix.jsonl")
    stage.run(look(), READY)
    assert stage.lines == []


def test_silent_when_only_failures_are_wanted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen.C.config, "get_config_value", lambda name, **_where: name != "display_ok_hosts")
    stage.run(look(), READY)
    assert stage.lines == []


def test_hosts_stand_in_a_column(stage: Stage) -> None:
    stage.run(look(), READY, batch=["spark01", "spark-with-a-long-name"])
    assert stage.lines[0] == "spark01                | container | started"


def test_two_hosts_share_nothing(stage: Stage) -> None:
    stage.run(look(phase="load", shards_done=1, shards_total=2), READY)
    first = list(stage.lines)
    stage.lines.clear()
    stage.run(look(phase="load", shards_done=1, shards_total=2), READY)
    assert [line.rpartition("|")[0] for line in stage.lines] == [line.rpartition("|")[0] for line in first]
