# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's plan and its merge of options, for hosts of which spark_info would say that they have a Spark's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
GIB = 1024**3
TOTAL = int(121.7 * GIB)

LONG = {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131072}
HEAVY = {"id": "a/b", "weights_bytes": 10**13, "layers": 1, "kv_heads": 1, "head_dim": 64, "native_context": 40960}
BIG = {"service": "vllm-big", "container": "vllm-big-x", "planned_bytes": 60 * GIB}
HOSTS: dict[str, dict[str, t.Any]] = {
    "default": {},
    "latency": {
        "vllm_profile": "latency",
        "vllm_explain": True,
        "vllm_hf_token": "hf_notToBePrinted",
        "vllm_extra_args": {"max_num_seqs": None, "kv_cache_dtype": "fp8"},
        "vllm_extra_env": {"TRITON_CACHE_DIR": "/tmp/triton"},
    },
    "long": LONG,
    "tried": {**LONG, "vllm_memory_plan": False},
    "remedied": {**LONG, "vllm_auto_remedy": True},
    "found": {**LONG, "vllm_auto_remedy": True, "__vllm_remedy": {"vllm_max_model_len": 126000}},
    "heavy": {"vllm_model": "heavy", "vllm_auto_remedy": True, "vllm_models": {"heavy": HEAVY}},
    "beside": {"services": [BIG], "vllm_port": 8001},
    "instead": {"services": [BIG], "listener": {"container": "vllm-big-x"}},
    "crowded": {"services": [{**BIG, "planned_bytes": 110 * GIB}], "vllm_port": 8001},
}  # fmt: skip
PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "include_role": {"name": "dgxspark.vllm.vllm", "tasks_from": "plan.yml", "public": True},
            },
            {
                "copy": {
                    "content": "{{ made | to_json }}",
                    "dest": "{{ folder }}/{{ inventory_hostname }}.json",
                    "mode": "0600",
                }
            },
        ],
    }
]


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("plan")
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "folder": str(folder),
        "services": [],
        "listener": None,
        "__vllm_switch": True,
        "made": {"argv": "{{ __vllm_argv }}", "environment": "{{ __vllm_environment }}", "plan": "{{ __vllm_plan }}"},
        "__dgxspark": {
            "spark": {"memory": {"total_bytes": TOTAL}, "services": "{{ services }}", "listener": "{{ listener }}"}
        },
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": HOSTS, "vars": common}}))
    (folder / "play.yml").write_text(yaml.safe_dump(PLAY))
    run = subprocess.run(
        [str(BIN / "ansible-playbook"), "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_REMOTE_TMP": str(folder / "tmp"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        },
        timeout=300,
        check=False,
    )
    assert run.returncode == 2, run.stdout + run.stderr  # some are refused
    return run.stdout + run.stderr, folder


def outcome(run: tuple[str, Path], host: str) -> dict[str, t.Any]:
    read: dict[str, t.Any] = json.loads((run[1] / f"{host}.json").read_text())
    return read


def told(run: tuple[str, Path], host: str, task: str) -> str | None:
    """What the task said of the host, on one line."""
    _before, found, rest = run[0].partition(f"plan | {task}]")
    part = rest.partition("\nTASK [")[0]
    for block in part.split("\nfatal: ")[1:] + part.split("\nok: ")[1:]:
        if block.startswith(f"[{host}]"):
            return " ".join(block.split("\nok: ")[0].split("\nfatal: ")[0].split())
    return None


def test_the_guides_own_command(run: tuple[str, Path]) -> None:
    made = outcome(run, "default")
    assert " ".join(made["argv"]) == (
        "vllm serve Qwen/Qwen3-8B-FP8 --max-model-len 32768 --gpu-memory-utilization 0.90"
        " --max-num-batched-tokens 16384 --max-num-seqs 64 --enable-prefix-caching"
        " --served-model-name Qwen/Qwen3-8B-FP8"
    )
    assert made["environment"] == {
        "HF_HUB_CACHE": "/root/.cache/huggingface",
        "TRITON_CACHE_DIR": "/root/.cache/triton",
        "HF_HUB_OFFLINE": "1",
    }
    assert (made["plan"]["fits"], made["plan"]["kv_tokens"]) == (True, 711696)


def test_explained_as_it_is_run(run: tuple[str, Path]) -> None:
    made = outcome(run, "latency")
    assert " ".join(made["argv"]) == (
        "vllm serve Qwen/Qwen3-8B-FP8 --max-model-len 16384 --gpu-memory-utilization 0.85"
        " --max-num-batched-tokens 8192 --served-model-name Qwen/Qwen3-8B-FP8 --kv-cache-dtype fp8"
    )
    said = told(run, "latency", "Explain options and environment")
    assert said
    for line in (
        "--max-model-len 16384 profile latency",
        "--gpu-memory-utilization 0.85 profile latency",
        "(max_num_seqs is dropped) vllm_extra_args, instead of 16 of profile latency",
        "--kv-cache-dtype fp8 vllm_extra_args",
        "TRITON_CACHE_DIR=/tmp/triton vllm_extra_env, instead of /root/.cache/triton of the collection",
        "HF_TOKEN is set, and not shown vllm_hf_token",
    ):
        assert line in said
    assert "hf_notToBePrinted" not in run[0]
    assert told(run, "default", "Explain options and environment") is None


def test_llama_70b_at_128k_is_refused_with_three_ways_out(run: tuple[str, Path]) -> None:
    said = told(run, "long", "Refuse what does not fit")
    assert said
    assert "FAILED" in said
    assert "llama33-70b-fp8 does not fit into the memory of long: one request of 131,072 tokens needs 40.0 GiB" in said
    assert "Nothing was changed; vllm_memory_plan: false tries it all the same." in said
    assert " 1. vllm_max_model_len: 126976 instead of 131072" in said
    assert " 2. vllm_extra_args: {kv_cache_dtype: fp8}; KV cache of 254,720 tokens" in said
    assert " 3. " in said


@pytest.mark.parametrize("host", ["tried", "remedied"])
def test_what_is_said_only(run: tuple[str, Path], host: str) -> None:
    assert told(run, host, "Refuse what does not fit") is None
    said = told(run, host, "Say what does not fit")
    assert said
    assert "1. vllm_max_model_len: 126976" in said
    assert "Nothing was changed" not in said


def test_what_was_found_to_fit_is_planned(run: tuple[str, Path]) -> None:
    assert "126000" in outcome(run, "found")["argv"]
    assert outcome(run, "found")["plan"]["fits"]
    assert told(run, "found", "Say what does not fit") is None


def test_a_shorter_context_does_not_help_weights(run: tuple[str, Path]) -> None:
    said = told(run, "heavy", "Refuse what does not fit")
    assert said
    assert "No shorter context, smaller KV cache, smaller form of the model or number of hosts up to 8" in said


def test_other_services_take_their_part(run: tuple[str, Path]) -> None:
    assert "--gpu-memory-utilization 0.42" in " ".join(outcome(run, "beside")["argv"])  # (121.7 - 10 - 60) / 121.7
    # one that holds the port will be stopped
    assert "--gpu-memory-utilization 0.90" in " ".join(outcome(run, "instead")["argv"])
    said = told(run, "crowded", "Refuse what does not fit")
    assert said
    assert "110.0 GiB are held by vllm-big" in said
    assert "Choose another model, or give vllm-big less." in said
