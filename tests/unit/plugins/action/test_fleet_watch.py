# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the processes of the live view share, and what is refused before a host is asked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleActionFail
from ansible_collections.dgxspark.vllm.plugins.action.fleet_watch import Board, check_settings

READY = {"health": {"verdict": "ready"}, "spark": None, "wanted": {}}


def test_the_last_answer_of_each_host_counts(tmp_path: Path) -> None:
    board = Board(str(tmp_path / "watch"), ["a", "b", "../c"])
    board.write("a", {"health": {"verdict": "loading"}})
    board.write("a", READY)
    board.write("../c", {"health": {"unreachable": True, "msg": "no route"}})
    assert {host["host"]: host["verdict"] for host in board.report()["hosts"]} == {
        "a": "ready",
        "b": "asked",
        "../c": "unreachable",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["watch"]  # whatever a host is called
    assert stat.S_IMODE((tmp_path / "watch").stat().st_mode) == 0o700


def test_who_is_late(tmp_path: Path) -> None:
    """Who has not answered for longer than allowed, the first time too, but for who is done."""
    board = Board(str(tmp_path / "watch"), ["a", "b", "c"])
    board.write("a", READY)
    board.write("b", {**READY, "is_last": True})
    assert board.waited(longest=600) == {}
    board.begin -= 700
    assert set(board.waited(longest=600)) == {"c"}
    assert set(board.waited(longest=-1)) == {"a", "c"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((0.5, 0, 1), "interval: 0.5 is not allowed; use at least 1 second"),
        ((5, -1, 1), "count: -1 is not allowed; use 0 for no end, or a number of rounds"),
        ((5, 0, 3), "forks: 2 is less than the 3 hosts that are watched, and each needs one; use --forks 3"),
    ],
)
def test_settings_that_cannot_be_drawn(
    settings: tuple[float, int, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "CLIARGS", {"forks": 2})
    check_settings(5, 0, 2)
    with pytest.raises(AnsibleActionFail) as refused:
        check_settings(*settings)
    assert said in str(refused.value)


def test_output_for_programs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", {"forks": 2})
    monkeypatch.setattr(C, "DEFAULT_STDOUT_CALLBACK", "ansible.posix.json")
    with pytest.raises(AnsibleActionFail, match="needs a terminal; for programs use playbooks/health.yml"):
        check_settings(5, 0, 2)
