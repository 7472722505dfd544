# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's model three times on one host. vLLM makes a model for embeddings, or one that ranks, of any decoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.deployments import EAGER
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark

pytestmark = pytest.mark.usefixtures("prepared")

POOLING = {**EAGER, "runner": "pooling"}
RANKER = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["a", "b"],
    "is_original_qwen3_reranker": True,
}
CHAT: dict[str, Any] = {"name": "vllm", "vllm_extra_args": EAGER}
EMBED: dict[str, Any] = {
    "name": "vllm-embed",
    "vllm_port": 8001,
    "vllm_gpu_memory_utilization": 0.16,
    "vllm_extra_args": {**POOLING, "convert": "embed"},
}
RERANK: dict[str, Any] = {
    "name": "vllm-rerank",
    "vllm_port": 8002,
    "vllm_extra_args": {**POOLING, "hf_overrides": RANKER},
}
ALL = [CHAT, EMBED, RERANK]
PARTS = [each["name"] for each in ALL]
ASK = "curl --silent --fail-with-body --header 'Content-Type: application/json' --data %s http://127.0.0.1:%s%s"


def ask(spark: Spark, port: int, path: str, **data: Any) -> dict[str, Any]:
    asked = json.dumps({"model": "Qwen/Qwen3-8B-FP8", **data})
    found: dict[str, Any] = json.loads(spark.check_output(ASK, asked, str(port), path))
    return found


def running(spark: Spark) -> str:
    """The containers of all services, with what a restart would change."""
    script = (
        "docker ps --quiet --filter label=dgxspark.vllm.service"
        " | xargs -r docker inspect --format '{{.Name}} {{.State.StartedAt}}' | sort"
    )
    return spark.root(script)


@pytest.fixture(scope="module")
def site(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Iterator[Run]:
    """One run of site.yml, named after the host. What the host had before is a service of the same name."""
    yield ansible_playbook("site.yml", spark.limit, vllm_services=ALL)
    removed = ansible_playbook("playbooks/uninstall.yml", spark.limit, vllm_services=ALL)
    assert removed.code == 0, removed.output
    assert running(spark) == ""


def test_each_is_proven_by_what_it_is_for(site: Run, spark: Spark) -> None:
    assert site.code == 0, site.output
    assert "an embedding of" in site.words
    assert "a score" in site.words
    assert ask(spark, 8000, "/v1/completions", prompt="Hello", max_tokens=1)["choices"]
    assert ask(spark, 8001, "/v1/embeddings", input="Hello")["data"]
    assert ask(spark, 8002, "/v1/rerank", query="Hello", documents=["a", "b"])["results"]


def test_an_embedding_model_has_no_completions(site: Run, spark: Spark) -> None:
    status = ASK.replace("--fail-with-body", "--output /dev/null --write-out '%%{http_code}'")
    asked = json.dumps({"model": "Qwen/Qwen3-8B-FP8", "prompt": "Hello"})
    assert spark.check_output(status, asked, "8001", "/v1/completions") in ("400", "404", "501")


def test_the_plan_says_who_has_what(site: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    explained = ansible_playbook("playbooks/explain.yml", f"{spark.limit}-vllm-rerank", vllm_services=ALL)
    assert explained.code == 0, explained.output
    shares = explained.words.partition("Shares of ")[2]
    assert "vllm 0." in shares and "what the others leave); vllm-embed 0.16 (" in shares
    assert "what its model needs)" in shares.partition("vllm-rerank")[2]


def test_a_second_run_changes_nothing(site: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    before = running(spark)
    again = ansible_playbook("site.yml", spark.limit, vllm_services=ALL)
    assert again.code == 0, again.output
    assert [again.count(f"{spark.name}-{part}", "changed") for part in PARTS] == [0, 0, 0], again.output
    assert running(spark) == before


def test_health_shows_all_of_them(site: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    health = ansible_playbook("playbooks/health.yml", spark.limit, vllm_services=ALL)
    assert health.code == 0, health.output
    assert all(f"{spark.name}-{part} ready" in health.words for part in PARTS), health.output


def test_the_watchdog_gets_its_answer(site: Run, spark: Spark) -> None:
    with spark.sudo():
        begin = spark.check_output("date +%s.%N")
        spark.check_output("systemctl start vllm-embed-watchdog.service")
        spark.check_output("journalctl --sync")
        watched = "journalctl --no-pager --output=cat --unit vllm-embed-watchdog.service --since=@%s"
        assert "no token" not in spark.check_output(watched, begin)


@pytest.mark.in_turn(4)  # two starts more
def test_a_release_that_fails_is_rolled_back_alone(site: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    others, release = running(spark).splitlines(), spark.root("readlink /opt/vllm-embed/current")
    broken = {**EMBED, "vllm_extra_args": {**EMBED["vllm_extra_args"], "quantization": "awq"}}
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, vllm_services=[CHAT, broken, RERANK])
    assert run.code != 0
    assert f"{spark.name}-vllm-embed" in run.words and "serves again" in run.words, run.output
    assert spark.root("readlink /opt/vllm-embed/current") == release
    assert ask(spark, 8001, "/v1/embeddings", input="Hello")["data"]
    now = running(spark).splitlines()
    assert [line for line in others if "embed" not in line] == [line for line in now if "embed" not in line]


def test_one_can_be_removed(site: Run, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    before = running(spark).splitlines()
    removed = ansible_playbook("playbooks/uninstall.yml", f"{spark.limit}-vllm-embed", vllm_services=ALL)
    assert removed.code == 0, removed.output
    assert running(spark).splitlines() == [line for line in before if "embed" not in line]
    with spark.sudo():
        assert not spark.file("/opt/vllm-embed").exists
