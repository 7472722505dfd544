# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role vllm: a model that was staged is served without a hub; what is missing is said before the switch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.hub import HubServer
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark

from .own_hub import ENDPOINT, MODEL, remove_all

pytestmark = pytest.mark.usefixtures("prepared")

STAGED = "/opt/hf-journey-stage"
SERVICE = "vllm-journey"
ITS_OWN: dict[str, Any] = {
    "vllm_service_name": SERVICE,
    "vllm_port": 8012,
    "hf_cache_path": STAGED,
    "vllm_hf_endpoint": ENDPOINT,
    "vllm_model": "journey",
    "vllm_models": {
        "journey": {
            "id": MODEL,
            "weights_bytes": 51_200_000,
            "layers": 2,
            "kv_heads": 2,
            "head_dim": 32,
            "native_context": 40960,
        }
    },
    "vllm_gpu_memory_utilization": 0.2,
    "vllm_max_model_len": 2048,
    "vllm_extra_args": {"enforce_eager": True, "max_num_batched_tokens": 2048},
}

OFFLINE = {"vllm_hf_offline": True}


@pytest.fixture(scope="module", autouse=True)
def no_trace(spark: Spark, ansible_playbook: AnsiblePlaybook, own_hub: HubServer) -> Iterator[None]:
    yield
    removed = ansible_playbook("playbooks/uninstall.yml", spark.limit, **ITS_OWN)
    remove_all(spark)
    with spark.sudo():
        spark.check_output("rm -rf %s", STAGED)
    assert removed.code == 0, removed.output


@pytest.fixture(scope="module")
def staged(spark: Spark, ansible_playbook: AnsiblePlaybook, own_hub: HubServer) -> Run:
    return ansible_playbook("playbooks/stage.yml", spark.limit, **ITS_OWN)


def test_stage_downloads_and_starts_nothing(spark: Spark, staged: Run) -> None:
    assert staged.code == 0, staged.output
    assert f"{spark.name} | download  | done" in staged.output
    with spark.sudo():
        assert spark.check_output("ls %s/models--journey--model/snapshots/*/config.json", STAGED)
        found = spark.check_output("docker ps --all --quiet --filter label=dgxspark.vllm.service=%s", SERVICE)
        assert found == ""


@pytest.fixture(scope="module")
def switched(spark: Spark, ansible_playbook: AnsiblePlaybook, own_hub: HubServer, staged: Run) -> Run:
    own_hub.stop()
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **ITS_OWN, **OFFLINE)
    own_hub.start()
    return run


def test_the_switch_needs_no_hub(spark: Spark, switched: Run) -> None:
    assert switched.code == 0, switched.output
    assert f"serves {MODEL} " in switched.output
    assert spark.run("curl --fail --silent http://127.0.0.1:8012/health").rc == 0


def test_a_second_run_changes_nothing(
    spark: Spark, ansible_playbook: AnsiblePlaybook, own_hub: HubServer, switched: Run
) -> None:
    own_hub.control(reset=True)
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, **ITS_OWN, **OFFLINE)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output
    assert own_hub.requests == 0


def test_what_is_missing_offline_is_said_before_the_switch(
    spark: Spark, ansible_playbook: AnsiblePlaybook, own_hub: HubServer, switched: Run
) -> None:
    def started_at() -> str:
        with spark.sudo():
            return spark.check_output("docker inspect --format '{{.State.StartedAt}}' %s-journey", SERVICE)

    before = started_at()
    with spark.sudo():
        shard = spark.check_output("readlink -f %s/models--journey--model/snapshots/*/model-00002-of-*", STAGED)
        spark.check_output("mv %s %s.away", shard, shard)
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **{**ITS_OWN, **OFFLINE, "vllm_max_model_len": 1024})
    with spark.sudo():
        spark.check_output("mv %s.away %s", shard, shard)
    assert run.code != 0
    assert "missing: model-00002-of-00002.safetensors" in run.words
    assert "deploy once with vllm_hf_offline: false" in run.words
    assert started_at() == before
