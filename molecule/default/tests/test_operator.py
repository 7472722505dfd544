# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator gets on a host that serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ON_THE_HOST = ("--limit", "spark01")


@pytest.fixture(scope="module")
def second_run(playbook: Callable[..., Any]) -> Any:
    """site.yml once more; how long it takes is shown by pytest's --durations."""
    return playbook("site.yml", *ON_THE_HOST)


def test_a_second_run_changes_nothing(second_run: Any) -> None:
    assert second_run.code == 0, second_run.output
    assert second_run.count("spark01", "changed") == 0, second_run.output


def test_the_summary_says_where_and_how(second_run: Any) -> None:
    for part in ("http://127.0.0.1:8000", "Qwen/Qwen3-8B-FP8", "KV cache", "tokens", "health.yml", "remove.yml"):
        assert part in second_run.output


def test_check_mode_finds_nothing_to_do(playbook: Callable[..., Any]) -> None:
    run = playbook("site.yml", *ON_THE_HOST, "--check", "--diff")
    assert run.code == 0, run.output
    assert run.count("spark01", "changed") == 0, run.output
    assert "+++" not in run.output


def test_health_says_so_without_a_warning(playbook: Callable[..., Any]) -> None:
    run = playbook("playbooks/health.yml", *ON_THE_HOST)
    assert run.code == 0, run.output
    assert "ready" in run.output
    assert "WARNING]" not in run.output
