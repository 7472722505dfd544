# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one owner served and measured on a Spark with vLLM 0.31 (M: ctala/local-llm-agentic-workflows, October 2026).

All of it started there: none of it may be refused, the plan must have it fit, and need no less than was used.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import Resolved, resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems

Values = dict[str, t.Any]
CATALOG, KNOWN = Catalog(), options_of("vllm")
SPARK = {"memory": {"total_bytes": 130_663_448_576}}
IMAGE = "vllm/vllm-openai:v0.31.0-aarch64"
FOUR_USERS = {"max_num_seqs": 4, "kv_cache_dtype": "fp8", "max_num_batched_tokens": None}


def draft(method: str, tokens: int, **more: t.Any) -> Values:
    return {"method": method, "num_speculative_tokens": tokens, **more}


IN_A_FOLDER = {"model": "/drafts/it"}
CASES: list[tuple[str, float, Values | None, Values, float]] = [
    ("qwen36-35b-a3b-nvfp4", 0.5, draft("mtp", 2, moe_backend="triton"), {"max_num_batched_tokens": 32768}, 55.5),
    ("qwen36-35b-a3b-nvfp4", 0.4, None, {"max_num_batched_tokens": 32768}, 47.0),
    ("qwen36-35b-a3b-nvfp4", 0.6, draft("dflash", 11, **IN_A_FOLDER), {"max_num_batched_tokens": 32768}, 71.8),
    ("gpt-oss-20b", 0.25, None, {}, 25.7),
    ("gpt-oss-20b", 0.35, draft("eagle3", 3, **IN_A_FOLDER), {"attention_backend": "TRITON_ATTN"}, 38.4),
    ("gpt-oss-120b", 0.7, None, {}, 80.5),
    ("gpt-oss-120b", 0.75, draft("eagle3", 3, model="nvidia/gpt-oss-120b-Eagle3-long-context"), {}, 87.5),
    ("nemotron35-lightning", 0.4, draft("dspark", 3, **IN_A_FOLDER), {}, 43.5),
    ("nemotron35-lightning", 0.4, None, {"tool_call_parser": "qwen3_coder"}, 45.0),
    ("gemma4-26b-a4b-nvfp4", 0.4, draft("mtp", 3, **IN_A_FOLDER), {"max_num_batched_tokens": 8192}, 45.1),
    ("gemma4-26b-a4b-nvfp4", 0.35, None, {"max_num_batched_tokens": 8192}, 39.9),
    ("nemotron3-super", 0.8, draft("mtp", 3, moe_backend="triton"), {}, 95.2),
    ("nemotron3-super", 0.8, None, {}, 94.3),
    ("qwen38-27b-nvfp4", 0.5, draft("mtp", 2), {"limit_mm_per_prompt": {"image": 2, "video": 0}}, 59.5),
    ("qwen38-27b-nvfp4", 0.55, draft("dspark", 14, draft_sample_method="probabilistic", **IN_A_FOLDER), {}, 63.6),
    ("qwen38-27b-nvfp4", 0.4, None, {"limit_mm_per_prompt": {"image": 2, "video": 0}}, 47.0),
    (
        "qwen3-8b-fp8",
        0.5,
        None,
        {
            "hf_overrides": {
                "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
                "max_position_embeddings": 131072,
            }
        },
        55.5,
    ),
]


def service(**values: t.Any) -> Resolved:
    assert problems("vllm", values, KNOWN, CATALOG) == []
    checked, _wrong = TypedValues.of(KNOWN, values)
    return resolve(checked, CATALOG, SPARK)


@pytest.mark.parametrize(("model", "share", "speculative", "options", "used"), CASES)
def test_what_started_on_a_spark_is_planned_to_fit(
    model: str, share: float, speculative: Values | None, options: Values, used: float
) -> None:
    found = service(
        vllm_model=model,
        vllm_image=IMAGE,
        vllm_max_model_len=131072,
        vllm_gpu_memory_utilization=share,
        vllm_extra_args={**FOUR_USERS, "speculative_config": speculative, **options},
        vllm_mounts=[{"source": "/home/me/drafts", "target": "/drafts"}],
    )
    assert found.plan is not None
    assert (found.plan["fits"], found.plan["sequences"] >= 4) == (True, True)
    assert found.plan["needed_bytes"] >= used * 10**9


@pytest.mark.parametrize(
    ("model", "image", "is_set"),
    [
        ("nemotron3-super", "vllm/vllm-openai:v0.24.0-ubuntu2404", True),
        ("nemotron3-super", "nvcr.io/nvidia/vllm:26.09-py3", False),
        ("nemotron35-lightning", "vllm/vllm-openai:v0.28.0", True),
        ("qwen36-35b-a3b-nvfp4", IMAGE, True),
        ("qwen36-35b-a3b-nvfp4", "nvcr.io/nvidia/vllm:26.08-py3", False),
        ("gemma4-26b-a4b-nvfp4", IMAGE, False),
    ],
)
def test_the_loader_is_set_where_others_load_so(model: str, image: str, is_set: bool) -> None:
    arguments = service(vllm_model=model, vllm_image=image).arguments
    assert ("fastsafetensors" in arguments) is is_set
    if is_set:
        own = service(vllm_model=model, vllm_image=image, vllm_extra_args={"load_format": "auto"}).arguments
        assert own[own.index("--load-format") + 1] == "auto"
