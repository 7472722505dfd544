# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input ends in one line that names the variable, the value and what is allowed; no host is even connected to."""

from __future__ import annotations

from typing import Any

import pytest

from support.playbook import AnsiblePlaybook
from support.sandbox import Spark

SECRET = "hf_notToBePrinted1"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"vllm_model": "qwen3-9b"}, ["vllm_model", "qwen3-9b", "qwen3-8b-fp8"]),
        ({"vllm_profile": "fast"}, ["vllm_profile", "fast", "throughput", "latency", "concurrency"]),
        ({"vllm_image": "nvcr.io/nvidia/vllm:1.0"}, ["vllm_image", "nvcr.io/nvidia/vllm:1.0", "vllm_images"]),
        ({"vllm_image": "vllm/vllm-openai:latest"}, ["vllm_image", "latest"]),
        ({"vllm_gpu_memory_utilization": 1.5}, ["vllm_gpu_memory_utilization", "1.5", "0.95"]),
        ({"vllm_port": 99999}, ["vllm_port", "99999", "65535"]),
        ({"vllm_modle": "qwen3-8b-fp8"}, ["vllm_modle", "vllm_model"]),
        ({"vllm_extra_args": {"kv_cache_dtyp": "fp8"}}, ["vllm_extra_args", "kv_cache_dtyp", "kv_cache_dtype"]),
        ({"vllm_extra_args": {"port": 8001}}, ["vllm_extra_args", "port", "vllm_port"]),
        ({"hf_cache_path": "opt/hf"}, ["hf_cache_path", "opt/hf", "absolute"]),
        ({"hf_cache_path": "no folder"}, ["hf_cache_path", "no folder", "absolute"]),
        ({"hf_cache_mode": "rwx"}, ["hf_cache_mode", "rwx", "0755"]),
        ({"vllm_hf_token": f"{SECRET}\n"}, ["vllm_hf_token"]),
        ({"vllm_publish_address": "0.0.0.0"}, ["vllm_publish_address", "0.0.0.0", "vllm_api_key"]),
        ({"vllm_container_name": "a b"}, ["vllm_container_name", "a b"]),
        ({"container_runtime_docker_source": "snap"}, ["container_runtime_docker_source", "snap", "distribution"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_in_one_line(
    spark: Spark, ansible_playbook: AnsiblePlaybook, variables: dict[str, Any], words: list[str]
) -> None:
    # nobody listens there: an attempt to connect would show as unreachable
    run = ansible_playbook("site.yml", spark.limit, **variables, ansible_host="127.0.0.1", ansible_port=9)
    assert run.code != 0, run.output
    assert run.count(spark.name, "unreachable") == 0, run.output
    assert run.count(spark.name, "changed") == 0, run.output
    assert run.count(spark.name, "failed") == 1, run.output
    assert any(all(word in line for word in words) for line in run.output.splitlines()), run.output
    assert SECRET not in run.output
    assert "Traceback" not in run.output
