# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's tokens are those that real engines log: exactly where the pool's size is given, within 2 % otherwise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan import memory as plan_memory
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.words import GIB

from support.playbook import AnsiblePlaybook
from support.sandbox import IMAGE, Spark

from .shapes import GIVEN, REFERENCE, SHARED, TOO_LONG, Case

pytestmark = pytest.mark.usefixtures("prepared")

CONTAINER = "plan-engines"
ENGINES = Path(__file__).with_name("engines.py")
BATCH = 2048  # tokens; the default is that of no machine in particular


@pytest.fixture(scope="module")
def logs(spark: Spark) -> dict[str, str]:
    """The logs of all engines, by the name of the case."""
    cases = [*GIVEN, TOO_LONG, REFERENCE, *SHARED]
    batched = [{**case.as_dict(), "args": {"max_num_batched_tokens": BATCH, **case.args}} for case in cases]
    folder = spark.check_output("mktemp --directory")
    for name, text in (("engines.py", ENGINES.read_text()), ("cases.json", json.dumps(batched))):
        spark.check_output("printf %%s %s >%s/%s", text, folder, name)
    with spark.sudo():
        found = spark.check_output(
            "docker run --rm --name %s --network none --shm-size 1g --volume %s:/plan:ro --entrypoint python3 %s"
            " /plan/engines.py /plan/cases.json 2>/dev/null; rm -r %s",
            CONTAINER,
            folder,
            IMAGE,
            folder,
        )
    read: dict[str, str] = json.loads(found)
    return read


def planned(case: Case, total_bytes: int = 64 * GIB) -> dict[str, Any]:
    entry, assumed = entry_of(case.config, case.weights_bytes())
    assert assumed == []
    args = {"max_num_batched_tokens": BATCH, "enforce_eager": True, **case.args}
    environment = case.environment or {}
    return plan_memory.plan(entry, plan_memory.Host(total_bytes, highest=1.0), args, environment)


@pytest.mark.parametrize("case", GIVEN, ids=lambda case: case.name)
def test_the_tokens_are_the_logged_ones(logs: dict[str, str], case: Case) -> None:
    real, plan = parse(logs[case.name]), planned(case)
    assert real.kv_cache_tokens, logs[case.name]
    assert plan["kv_tokens"] == real.kv_cache_tokens
    assert plan["sequences"] == real.max_concurrency


def test_the_longest_context_is_the_logged_one(logs: dict[str, str]) -> None:
    advice = re.search(r"estimated maximum model length is (\d+)", logs[TOO_LONG.name])
    assert advice, logs[TOO_LONG.name]
    plan = planned(TOO_LONG)
    assert not plan["fits"]
    assert plan["max_context"] == int(advice[1])


def requested_and_consumed(log: str) -> tuple[float, float]:
    found = re.search(r"with ([\d.]+) GiB requested memory for the worker. ([\d.]+) GiB memory was consumed", log)
    assert found, log
    return float(found[1]) * GIB, float(found[2]) * GIB


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_a_share_of_the_memory(logs: dict[str, str], case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine itself takes is the CPU's, and is taken from the reference. The weights are the plan's."""
    engine = requested_and_consumed(logs[REFERENCE.name])[1] - REFERENCE.weights_bytes()
    monkeypatch.setattr(plan_memory, "ENGINE_BYTES", int(engine))
    monkeypatch.setattr(plan_memory._Given, "_activations", lambda given: 0)
    monkeypatch.setattr(plan_memory.kv_cache, "BLOCK", plan_memory.kv_cache.CPU_BLOCK)
    requested = requested_and_consumed(logs[case.name])[0]
    plan = planned(case, int(requested / case.args["gpu_memory_utilization"]))
    assert plan["kv_tokens"] == pytest.approx(parse(logs[case.name]).kv_cache_tokens, rel=0.02)


# --- what does not fit is refused -----------------------------------------------------------------------------------
LONG = 131072
# Without the folders in which the watchdog and the engine of what serves go on writing.
STATE = (
    "docker ps --all --quiet; docker images --quiet; ls -R --ignore=state --ignore=cache /opt/vllm /opt/hf 2>&1 || true"
)


def too_large(total_bytes: int) -> dict[str, Any]:
    """Asks of this host what Llama 3.3 70B FP8 with 128K tokens asks of a Spark, and offers a smaller form of it."""
    layers = max(1, int(total_bytes * 0.1 / (4096 * LONG)))
    need = layers * 4096 * LONG
    computing = {"activation_bytes": plan_memory.ACTIVATION_BYTES, "vocab_size": 1}
    weights = int(0.9 * total_bytes - 0.9 * need - 16384 * plan_memory.ACTIVATION_BYTES) - plan_memory.ENGINE_BYTES
    weights -= 30 * layers * plan_memory.GRAPH_LAYER_BYTES  # what a server of 64 requests captures
    smaller = {
        "id": "sandbox/70b-nvfp4",
        "weights_bytes": weights // 2,
        "layers": layers,
        "kv_heads": 8,
        "head_dim": 128,
        **computing,
    }
    return {
        "vllm_model": "llama33-70b-fp8",
        "vllm_max_model_len": LONG,
        "vllm_gpu_memory_utilization": 0.9,
        "vllm_memory_reserve_gib": 0,
        "vllm_extra_env": {},
        "vllm_models": {
            "llama33-70b-fp8": {"weights_bytes": weights, "layers": layers, **computing},
            "llama33-70b-nvfp4": {**smaller, "parameters": "70.6B", "native_context": LONG},
        },
    }


def test_what_does_not_fit_is_refused_before_anything_changes(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    total = int(spark.check_output("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    with spark.sudo():
        before = spark.check_output(STATE)
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **too_large(total))
    assert run.code != 0, run.output
    assert (run.count(spark.name, "changed"), run.count(spark.name, "failed")) == (0, 1), run.output
    with spark.sudo():
        assert before == spark.check_output(STATE)
    assert (
        f"llama33-70b-fp8 does not fit into the memory of {spark.name}: one request of 131,072 tokens needs"
        in run.output
    )
    for line in (
        r"1\. vllm_max_model_len: 1\d{5} instead of 131072; 1\d{5} is the longest that fits",
        r"2\. vllm_extra_args: {kv_cache_dtype: fp8}; KV cache of \d{3},\d{3} tokens, 1\.\d requests of 131,072 tokens",
        r"3\. vllm_model: llama33-70b-nvfp4, with [\d.]+ GiB of weights; KV cache of",
    ):
        assert re.search(line, run.output), run.output


def test_a_model_that_nobody_has_described_is_read(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    wanted = {"vllm_model": "sandbox/tiny", "vllm_max_model_len": 8192, "hf_cache_path": "/opt/plan-has-no-cache"}
    run = ansible_playbook("playbooks/stage.yml", spark.limit, "--check", **wanted)
    said = " ".join(run.output.split())
    assert run.code == 0, run.output
    assert "sandbox/tiny is not in the catalog. Its own files (hub) say" in said
    assert "2 layers with 2 heads of 32, and 40960 tokens of context" in said
    longer = ansible_playbook("playbooks/deploy.yml", spark.limit, "--check", **{**wanted, "vllm_max_model_len": 50000})
    assert longer.code != 0
    assert "50,000 tokens of context are more than the 40,960 that the model allows" in longer.output
    assert "1. vllm_max_model_len: 40960 instead of 50000" in longer.output
    nobody = ansible_playbook("playbooks/deploy.yml", spark.limit, "--check", vllm_model="sandbox/nobody")
    assert nobody.code != 0
    assert "vllm_model: sandbox/nobody cannot be planned: the hub has no such model" in " ".join(nobody.output.split())


def test_explained_without_root_and_without_a_connection(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    extra = {"vllm_profile": "latency", "vllm_extra_args": {"max_num_seqs": 4}}
    run = ansible_playbook("playbooks/explain.yml", spark.limit, **extra)
    assert run.code == 0, run.output
    assert re.search(r"--max-num-seqs 4 +vllm_extra_args, instead of 16 of profile latency\n", run.output), run.output
    assert re.search(r"--max-model-len 16384 +profile latency\n", run.output), run.output
    assert re.search(r"--gpu-memory-utilization 0\.\d\d +this host \(.* instead of 0.85 of profile", run.output), (
        run.output
    )
    assert re.search(r"HF_TOKEN is for the download only +vllm_hf_token", run.output), run.output
    apart = ansible_playbook("playbooks/explain.yml", spark.limit, **extra, ansible_host="127.0.0.1", ansible_port=9)
    assert apart.code == 0, apart.output
    assert re.search(r"--gpu-memory-utilization 0.85 +profile latency\n", apart.output), apart.output
