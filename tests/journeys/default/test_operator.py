# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator gets on a host that serves."""

from __future__ import annotations

from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark


def test_a_second_run_changes_nothing(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    """How long it takes is shown by pytest's --durations."""
    again = ansible_playbook("site.yml", spark.limit)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output


def test_the_summary_says_where_and_how(served: Run) -> None:
    for part in ("http://127.0.0.1:8000", "Qwen/Qwen3-8B-FP8", "KV cache", "tokens", "health.yml", "uninstall.yml"):
        assert part in served.output


def test_check_mode_finds_nothing_to_do(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("site.yml", spark.limit, "--check", "--diff")
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 0, run.output
    assert "+++" not in run.output


def test_health_says_so_without_a_warning(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/health.yml", spark.limit)
    assert run.code == 0, run.output
    assert "ready" in run.output
    assert "WARNING]" not in run.output
