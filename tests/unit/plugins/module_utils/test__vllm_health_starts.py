# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on a server that ended, restarted, or waits for its start."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import Unit
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import (
    judge,
    result,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from vllm_observations import (
    HEALTHY,
    RESET,
    SERVING,
    container,
    log,
    seen,
    unit,
)


def test_attempt_before_is_explained() -> None:
    found = result(seen(container=container(), api=RESET, previous=log("maxlen.log")))
    assert found["verdict"] == "loading"
    assert found["previous_cause"]["id"] == "max_len_gt_model"


@pytest.mark.parametrize(
    ("previous", "cause"),
    [
        (log("startup_ok.log"), "stopped"),
        (log("stopped_engine_dead.log"), "stopped"),
        (log("kill.log"), "engine_dead"),
        (SERVING, "exited_after_ready"),
        (parse("bye"), "exited"),
    ],
)
def test_attempt_before_that_ended_without_a_known_line(previous: t.Any, cause: str) -> None:
    found = result(seen(container=container(), api=RESET, previous=previous))
    assert found["previous_cause"]["id"] == cause


REFUSED_MEMORY = (
    "not started: 109.5 GiB of memory are needed, 41.2 GiB are available after 120 s; most is held by x (pid 1) 9.0 GiB"
)
REFUSED_TRIES = (
    "not started: release ab12 was started 4 times since 2026-11-25 22:19 (1 boot of the host) and never answered;"
    " deploy again, or run: sudo python3 /opt/vllm/supervise/guard.py forget vllm"
)


@pytest.mark.parametrize("there", [container("exited", exit_code=137), None])
@pytest.mark.parametrize(
    ("state", "line", "cause"),
    [
        (unit("activating", "auto-restart", 2, "exit-code"), REFUSED_MEMORY, "start_memory"),
        (unit("inactive", "dead", 0, "exec-condition"), REFUSED_TRIES, "start_tries"),
    ],
)
def test_the_guard_refused_the_start(there: t.Any, state: Unit, line: str, cause: str) -> None:
    """What the container of the attempt before died of is old news."""
    verdict = judge(seen(container=there, unit=state, unit_log=f"waiting\n{line}\n", log=log("kvsmall.log")))
    assert (verdict.verdict, verdict.phase) == ("failed", "container")
    assert verdict.cause is not None
    assert verdict.cause.id == cause


BANNER = "(APIServer pid=1) INFO 11-29 03:10:01 [api_server.py:1351] vLLM API server version 0.29.0\n"
SERVES = f"{BANNER}(APIServer pid=1) INFO:     Application startup complete.\n"
REQUEST = (
    "(APIServer pid=1) ERROR 11-29 03:10:02 [serving.py:830] Error in chat completion stream generator.\n"
    "(APIServer pid=1) ERROR 11-29 03:10:02 [serving.py:830] Traceback (most recent call last):\n"
    "(APIServer pid=1) ERROR 11-29 03:10:02 [serving.py:830] ValueError: a request\n"
)
ENDS = "(EngineCore pid=120) INFO 11-29 03:10:03 [core.py:1238] Shutdown initiated (timeout=0)\n"
VANISHED = (
    "(APIServer pid=1) ERROR 11-29 03:10:04 [core_client.py:638] Engine core proc EngineCore died unexpectedly,"
    " shutting down client.\n"
)
FILES = (
    '(APIServer pid=1) Traceback (most recent call last):\n(APIServer pid=1)   File "/x/uvloop/loop.py", line 7, in x\n'
    "(APIServer pid=1) OSError: [Errno 24] Too many open files\n"
)
SERVER_STOPS = "(APIServer pid=1) INFO:     Shutting down\n"


@pytest.mark.parametrize(
    ("said", "code", "cause"),
    [
        *((text + ENDS, code, "stopped") for text in (BANNER, SERVES, SERVES + REQUEST) for code in (0, 130, 143)),
        *((text + ENDS, 139, "crashed") for text in (BANNER, SERVES)),
        *((text + ENDS, 137, "killed") for text in (BANNER, SERVES)),
        (BANNER + ENDS, 1, "exited"),
        (BANNER + ENDS, 2, "exited"),
        (SERVES + ENDS, 1, "exited_after_ready"),
        (SERVES + ENDS + FILES, 1, "exited_after_ready"),
        (SERVES + ENDS + VANISHED, 1, "worker_killed"),
        (SERVES + ENDS + VANISHED + SERVER_STOPS, 0, "stopped"),  # it misses an engine that ends in order
        (SERVES + VANISHED + ENDS + SERVER_STOPS, 0, "worker_killed"),  # it ends the other engines
        (SERVES + ENDS + SERVER_STOPS, 137, "stopped"),
    ],
)
def test_an_engine_that_ends_is_no_order_by_itself(said: str, code: int, cause: str) -> None:
    """The API server ends it too, when it ends by itself."""
    found = judge(seen(container=container("exited", exit_code=code), log=parse(said)))
    assert found.cause is not None
    assert found.cause.id == cause


def test_what_the_guard_said_before_the_start_that_runs_is_old_news() -> None:
    there = seen(container=container(), unit=unit("active", "running"), unit_log=REFUSED_MEMORY, api=HEALTHY)
    assert judge(there).verdict == "ready"


def test_systemd_gave_up() -> None:
    """The cause of the last end stays in the words."""
    down = seen(
        container=container("exited", exit_code=1),
        unit=unit("failed", "failed", 4, "exit-code"),
        gave_up=True,
        log=log("kvsmall.log"),
    )
    verdict = judge(down)
    assert verdict.verdict == "failed"
    assert verdict.cause is not None
    assert verdict.cause.id == "gave_up"
    last = log("kvsmall.log").cause
    assert last.meaning in verdict.cause.meaning
    assert "systemd stopped restarting it" in verdict.cause.meaning
    assert last.remedy in verdict.cause.remedy
    assert "`systemctl reset-failed`" in verdict.cause.remedy


@pytest.mark.parametrize("sub", ["condition", "start-pre"])
def test_the_guard_waits_for_memory(sub: str) -> None:
    """The container of the start before ended after that start: it is no news."""
    waits = seen(container=container("exited", exit_code=137), unit=unit("activating", sub))
    assert judge(waits)[:2] == ("loading", "container")
