# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox's tiny model, which drafts for one that has the same weights: nearly all that it drafts is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.deployments import EAGER, TINY, B
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CACHE, Spark

pytestmark = pytest.mark.usefixtures("prepared")

MODEL, DRAFT = "sandbox/tiny", "sandbox/gated"
SHAPE = {"weights_bytes": 400000, "attention_kinds": [{"layers": 2, "kv_heads": 2, "head_dim": 32}]}
MINE: dict[str, Any] = {
    **B["vllm_models"]["tiny"],
    "draft": {"id": DRAFT, "method": "draft_model", "tokens": 3, **SHAPE},
}
VARIABLES: dict[str, Any] = {
    "vllm_model": "tiny",
    "vllm_models": {**B["vllm_models"], "tiny": MINE},
    "vllm_hf_token": "hf_sandboxgrantedForADraft",
    "vllm_extra_args": EAGER,
}


@pytest.fixture(scope="module")
def run(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Run:
    spark.root(f"rm -rf {CACHE}/models--sandbox--gated")
    return ansible_playbook("playbooks/deploy.yml", spark.limit, **VARIABLES)


def test_both_are_downloaded_and_the_server_stays_offline(spark: Spark, run: Run) -> None:
    assert run.code == 0, run.output
    for repository in (TINY, "models--sandbox--gated"):
        assert spark.root(f"ls {CACHE}/{repository}/snapshots/*/model.safetensors")
    compose = spark.root("cat /opt/vllm/current/compose.yaml")
    assert 'HF_HUB_OFFLINE: "1"' in compose
    assert DRAFT in compose


def test_health_tells_how_much_is_accepted(
    spark: Spark, run: Run, ansible_playbook: AnsiblePlaybook, tmp_path: Path
) -> None:
    data = json.dumps({"model": MODEL, "prompt": "Hello", "max_tokens": 60, "temperature": 0})
    ask = (
        "curl --silent --fail --header 'Content-Type: application/json' --data %s http://127.0.0.1:8000/v1/completions"
    )
    assert json.loads(spark.check_output(ask, data))["usage"]["completion_tokens"] == 60
    file = tmp_path / "health.json"
    health = ansible_playbook("playbooks/health.yml", spark.limit, **VARIABLES, vllm_health_file=str(file))
    assert health.code == 0, health.output
    assert "drafts" in health.words
    (host,) = json.loads(file.read_text())["hosts"]
    assert host["draft_acceptance_rate"] > 0.9
