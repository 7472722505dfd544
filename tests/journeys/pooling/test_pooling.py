# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's model as an embedding model, which vLLM makes of any decoder with these options."""

from __future__ import annotations

import pytest

from support.deployments import EAGER
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark

pytestmark = pytest.mark.usefixtures("prepared")

POOLING = {**EAGER, "runner": "pooling", "convert": "embed"}


@pytest.fixture(scope="module")
def run(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Run:
    return ansible_playbook("playbooks/deploy.yml", spark.limit, vllm_extra_args=POOLING)


def test_it_is_proven_by_an_embedding(run: Run) -> None:
    assert run.code == 0, run.output
    assert "an embedding of" in run.words


def test_it_has_no_completions(spark: Spark, run: Run) -> None:
    ask = (
        "curl --silent --output /dev/null --write-out '%{http_code}' --header 'Content-Type: application/json'"
        ' --data \'{"model": "Qwen/Qwen3-8B-FP8", "prompt": "Hello"}\' http://127.0.0.1:8000/v1/completions'
    )
    assert spark.check_output(ask) in ("400", "404", "501")


def test_health_calls_it_ready(spark: Spark, ansible_playbook: AnsiblePlaybook, run: Run) -> None:
    health = ansible_playbook("playbooks/health.yml", spark.limit, vllm_extra_args=POOLING)
    assert health.code == 0, health.output
    assert f"{spark.name}  ready" in health.output


def test_the_watchdog_gets_its_answer(spark: Spark, run: Run) -> None:
    with spark.sudo():
        begin = spark.check_output("date +%s.%N")
        spark.check_output("systemctl start vllm-watchdog.service")
        spark.check_output("journalctl --sync")
        said = spark.check_output("journalctl --no-pager --output=cat --unit vllm-watchdog.service --since=@%s", begin)
    assert "no token" not in said
