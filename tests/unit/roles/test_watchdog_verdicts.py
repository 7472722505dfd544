# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watchdog makes of one look at the server, and of several in a row."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import Canary, Completion
from ansible_collections.dgxspark.vllm.roles.vllm.files import watchdog
from ansible_collections.dgxspark.vllm.roles.vllm.files.guard import State

TOKEN = Canary(Completion(" I", 1, 0.1), None, 200)
TIMEOUT, REFUSED, RESET = Canary(None, "timeout"), Canary(None, "refused"), Canary(None, "reset")
BROKEN = Canary(None, "HTTP 500: no", 500)
IDLE, COMPUTES = {"generation_tokens": 40, "running": 1}, {"generation_tokens": 41, "running": 1}


@pytest.mark.parametrize(
    ("canary", "metrics", "before", "was_ready", "verdict"),
    [
        (TOKEN, None, None, True, "answers"),
        (TOKEN, None, None, False, "answers"),
        (BROKEN, IDLE, IDLE, True, "refuses"),
        (REFUSED, None, None, False, "loads"),
        (RESET, None, None, False, "loads"),
        (REFUSED, None, None, True, "silent"),
        (TIMEOUT, IDLE, None, True, "silent"),
        (TIMEOUT, IDLE, IDLE, True, "silent"),
        (TIMEOUT, IDLE, IDLE, False, "silent"),  # frozen as soon as it was loaded
        (TIMEOUT, None, IDLE, True, "silent"),  # all of it is frozen
        (TIMEOUT, COMPUTES, IDLE, True, "works"),
    ],
)
def test_one_look(canary: Canary, metrics: Any, before: Any, was_ready: bool, verdict: str) -> None:
    assert watchdog.judge(canary, metrics, before, was_ready) == verdict


def looks(verdicts: list[str], state: State, begin: float = 0.0) -> tuple[State, list[str]]:
    """A minute apart."""
    actions = []
    for number, verdict in enumerate(verdicts):
        state, action = watchdog.follow(state, verdict, IDLE, begin + 60 * number, frozen_after=3)
        actions.append(action)
    return state, actions


def test_three_silent_looks_in_a_row_are_a_restart() -> None:
    assert looks(["silent"] * 3, {})[1] == ["nothing", "nothing", "restart"]


@pytest.mark.parametrize("other", ["answers", "works", "refuses", "loads"])
def test_any_other_look_begins_anew(other: str) -> None:
    state, actions = looks(["silent", "silent", other, "silent", "silent"], {})
    assert set(actions) == {"nothing"}
    assert state["silent"] == 2


def test_a_busy_server_is_never_restarted() -> None:
    assert set(looks(["works"] * 500, {})[1]) == {"nothing"}


def test_three_restarts_in_two_hours_then_it_only_reports_each_hour() -> None:
    state, actions = looks(["silent"] * 9, {})
    assert actions.count("restart") == 3
    state, actions = looks(["silent"] * 100, state, begin=540)
    assert "restart" not in actions
    assert actions.count("report") == 2
    assert looks(["silent"], state, begin=3 * 3600)[1] == ["restart"]


def test_restarts_before_a_reboot_still_count() -> None:
    """How long ago they were, nobody knows: as if they were at the beginning of this boot."""
    state = looks(["silent"] * 9, watchdog.in_this_boot({}, "one"), begin=10**6)[0]
    state = watchdog.in_this_boot(state, "two")
    assert (state["boot"], state["restarts"]) == ("two", [0.0] * 3)
    assert "restart" not in looks(["silent"] * 9, state, begin=60)[1]
    assert "restart" in looks(["silent"] * 9, state, begin=2 * 3600)[1]
    assert watchdog.in_this_boot({"restarts": [1.79e9]}, "two")["restarts"] == [
        0.0
    ]  # by the clock, of an earlier version
