# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator gets on a host that serves."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

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


def test_preflight_finds_what_is_in_the_way(
    served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook, tmp_path: Path
) -> None:
    """Once on a host where all is well, and once with a port and an image that cannot be had."""
    state = "readlink /opt/vllm/current; ls -A /opt/vllm/releases /run/dgxspark.vllm; docker ps --quiet --no-trunc"
    before = spark.root(state)
    run = ansible_playbook("playbooks/preflight.yml", spark.limit)
    assert run.code == 0, run.output
    assert "1 host: nothing is in the way of a deployment" in run.output
    image = "nvcr.io/nvidia/vllm:26.07-py3"  # which the sandbox's registry does not have
    file = tmp_path / "preflight.json"
    run = ansible_playbook(
        "playbooks/preflight.yml", spark.limit, vllm_port=22, vllm_image=image, vllm_preflight_file=str(file)
    )
    assert run.code == 2, run.output
    found = {check["check"]: check for check in json.loads(file.read_text())["checks"]}
    assert [name for name, check in found.items() if check["result"] == "failed"] == ["port", "image"]
    assert found["port"]["text"].startswith("Port 22 is held by sshd")
    assert "cannot be pulled: no such manifest" in found["image"]["text"]
    assert found["memory"]["result"] == "not checked"
    assert spark.root(state) == before
    assert run.count(spark.name, "changed") == 0, run.output


def test_health_says_so_without_a_warning(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/health.yml", spark.limit)
    assert run.code == 0, run.output
    assert "ready" in run.output
    assert "WARNING]" not in run.output


def test_the_report_shows_what_serves(
    served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    run = ansible_playbook("playbooks/report.yml", spark.limit, vllm_report_file=str(page))
    assert run.code == 0, run.output
    assert "1 of 1 hosts ready" in run.words
    assert "WARNING]" not in run.output
    text = page.read_text(encoding="utf-8")
    for part in (f">{spark.name}</h3>", "Qwen/Qwen3-8B-FP8", "of the planned", " free of ", "<td>current</td>"):
        assert part in text
    assert stat.S_IMODE(page.stat().st_mode) == 0o600


def test_the_releases_are_listed(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/releases.yml", spark.limit)
    assert run.code == 0, run.output
    (row,) = (line for line in run.output.splitlines() if line.startswith(spark.name) and " current " in line)
    for part in ("Qwen/Qwen3-8B-FP8", "throughput", "UTC"):
        assert part in row


def test_the_log_of_all_hosts(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    pattern = 'vllm_logs_pattern="startup complete"'
    run = ansible_playbook("playbooks/logs.yml", spark.limit, "-e", pattern, vllm_logs_since="24h")
    assert run.code == 0, run.output
    lines = [line for line in run.output.splitlines() if re.match(rf"{spark.name}  \d{{4}}-", line)]
    assert lines, run.output
    assert all("Application startup complete" in line for line in lines), run.output


def test_the_live_view_shows_what_serves(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/watch.yml", spark.limit, vllm_watch_count=1)
    assert run.code == 0, run.output
    rows = [line.split()[:3] for line in run.output.splitlines() if line.startswith(f"{spark.name} ")]
    assert [spark.name, "ready", "Qwen/Qwen3-8B-FP8"] in rows, run.output
