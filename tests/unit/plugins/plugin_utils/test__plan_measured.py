# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory plan against what vLLM's own logs say. M: measured by whoever published the log."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, plan
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.words import GIB

Values = dict[str, t.Any]

# --- seven starts on one H200, vLLM 0.24.0, weights of no meaning ----------------------------------------------------
H200 = Host(int(139.80 * GIB), highest=0.95)
THROUGHPUT = {"max_model_len": 32768, "max_num_batched_tokens": 16384, "max_num_seqs": 64}
QWEN3: Values = {
    "model_type": "qwen3",
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "max_position_embeddings": 40960,
}
LARGER = {**QWEN3, "num_hidden_layers": 64, "hidden_size": 5120, "intermediate_size": 25600, "num_attention_heads": 64}
EXPERTS = {
    **QWEN3,
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
}
LINEAR = {
    **EXPERTS,
    "model_type": "qwen3_next",
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
}
GEMMA3 = {
    **QWEN3,
    "model_type": "gemma3_text",
    "num_hidden_layers": 34,
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,
    "vocab_size": 262144,
}
EAGER = {"enforce_eager": True}


@pytest.mark.parametrize(
    ("config", "weights_gib", "args", "tokens"),
    [
        (QWEN3, 8.80, {"gpu_memory_utilization": 0.90, "enable_prefix_caching": True}, 840_688),
        (QWEN3, 8.80, {"gpu_memory_utilization": 0.90, **EAGER}, 837_232),
        (QWEN3, 8.80, {"gpu_memory_utilization": 0.85, **EAGER, "kv_cache_dtype": "fp8"}, 1_572_656),
        (LARGER, 32.04, {"gpu_memory_utilization": 0.85, **EAGER}, 340_752),
        (EXPERTS, 29.09, {"gpu_memory_utilization": 0.85, **EAGER}, 959_504),
        (LINEAR, 13.35, {"gpu_memory_utilization": 0.85, **EAGER}, 4_208_128),
        (GEMMA3, 7.41, {"gpu_memory_utilization": 0.85, **EAGER}, 1_374_239),
    ],
    ids=["dense, graphs", "dense", "FP8 cache", "larger", "experts", "linear attention", "windows"],
)
def test_starts_on_a_gpu_of_its_own_memory(config: Values, weights_gib: float, args: Values, tokens: int) -> None:
    entry, assumed = entry_of(config, int(weights_gib * GIB))
    found = plan(entry, H200, {**THROUGHPUT, **args}, {}, "0.24.0")
    assert assumed == []
    assert found["kv_tokens"] == pytest.approx(tokens, rel=0.02)
    assert found["kv_tokens"] == pytest.approx(tokens, rel=0.006)  # what it is today


# --- five starts on one Spark ----------------------------------------------------------------------------------------
SPARK = Host(int(119.63 * GIB), highest=0.95)
PATTERN = ["sliding_attention"] * 5 + ["full_attention"]
GEMMA4: Values = {
    "model_type": "gemma4_text",
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "global_head_dim": 512,
    "sliding_window": 1024,
    "vocab_size": 262144,
    "max_position_embeddings": 262144,
}
GEMMA4_26B = {
    "model_type": "gemma4",
    "text_config": {
        **GEMMA4,
        "num_hidden_layers": 30,
        "hidden_size": 2816,
        "intermediate_size": 2112,
        "num_global_key_value_heads": 2,
        "layer_types": PATTERN * 5,
        "num_experts": 128,
        "top_k_experts": 8,
        "moe_intermediate_size": 704,
    },
    "vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "pooling_kernel_size": 3},
}
GEMMA4_12B = {
    "model_type": "gemma4",
    "text_config": {
        **GEMMA4,
        "num_hidden_layers": 48,
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_global_key_value_heads": 1,
        "layer_types": PATTERN * 8,
    },
}
QWEN36 = {
    "model_type": "qwen3_5_moe",
    "text_config": {
        **LINEAR,
        "model_type": "qwen3_5_moe_text",
        "num_hidden_layers": 40,
        "mamba_ssm_dtype": "float32",
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "vocab_size": 248320,
        "max_position_embeddings": 262144,
    },
    "vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "spatial_merge_size": 2},
}
SMALL_BATCHES = {"gpu_memory_utilization": 0.80, "max_num_batched_tokens": 4096, "max_model_len": 8192}
DRAFT = {"speculative_config": {"method": "dflash", "model": "some-org/draft", "num_speculative_tokens": 8}}


@pytest.mark.parametrize(
    ("config", "weights_gib", "vllm", "args", "kv_gib"),
    [
        (GEMMA4_26B, 48.49, "0.20.0", SMALL_BATCHES, 40.61),
        (GEMMA4_26B, 48.49, "0.20.0", SMALL_BATCHES, 44.03),
        (GEMMA4_12B, 22.87, "0.22.0", SMALL_BATCHES, 69.53),
        (GEMMA4_26B, 17.15, "0.24.0", {**SMALL_BATCHES, **DRAFT, "max_num_batched_tokens": 32768}, 65.25),
        (QWEN36, 22.85, "0.24.0", {**DRAFT, "gpu_memory_utilization": 0.85, "max_num_batched_tokens": 65536}, 62.74),
    ],
    ids=["26B", "26B again", "12B", "26B in 4 bits, a draft model", "35B in 4 bits, a draft model"],
)
def test_starts_on_a_spark(config: Values, weights_gib: float, vllm: str, args: Values, kv_gib: float) -> None:
    """The same model was started twice with the same options, and had 3.4 GiB more the second time."""
    entry, _assumed = entry_of(config, int(weights_gib * GIB))
    found = plan(entry, SPARK, args, {}, vllm)
    assert found["kv_bytes_least"] / GIB <= kv_gib <= found["kv_bytes_most"] / GIB
    assert found["kv_bytes"] / GIB == pytest.approx(kv_gib, rel=0.1)


# --- three starts on two other Sparks, of a dense model with linear attention, vision and MTP ------------------------
QWEN36_27B: Values = {
    "model_type": "qwen3_5",
    "text_config": {
        **LINEAR,
        "model_type": "qwen3_5_text",
        "num_hidden_layers": 64,
        "hidden_size": 5120,
        "intermediate_size": 17408,
        "num_attention_heads": 24,
        "num_key_value_heads": 4,
        "linear_num_value_heads": 48,
        "mamba_ssm_dtype": "float32",
        "mtp_num_hidden_layers": 1,
        "num_experts": None,
        "vocab_size": 248320,
        "max_position_embeddings": 262144,
    },
    "vision_config": {"hidden_size": 1152, "intermediate_size": 4304, "spatial_merge_size": 2},
}
LONG = {"max_model_len": 262144, "kv_cache_dtype": "fp8"}
LARGE_BATCHES = {
    "gpu_memory_utilization": 0.70,
    "max_num_batched_tokens": 65536,
    "max_num_seqs": 8,
    "enable_prefix_caching": True,
}
SHORT_BATCHES = {"gpu_memory_utilization": 0.85, "max_num_batched_tokens": 8192, "max_num_seqs": 16}


def mtp(tokens: int) -> Values:
    return {"speculative_config": {"method": "mtp", "num_speculative_tokens": tokens}}


@pytest.mark.parametrize("memory_gib", [119.63, 121.69])  # the logs do not say which of the two it was
@pytest.mark.parametrize(
    ("weights_gib", "vllm", "args", "kv_gib", "tokens", "block", "requests"),
    [
        (19.78, "0.23.1rc1", {**LONG, **LARGE_BATCHES}, 47.84, 1_505_068, 1568, 5.74),
        (20.57, "0.23.1rc1", {**LONG, **LARGE_BATCHES, **mtp(2)}, 48.60, 1_394_129, 1600, 5.32),
        (24.97, "0.24.0", {**LONG, **SHORT_BATCHES, **mtp(3)}, 73.56, 2_110_557, 1600, 8.05),
    ],
    ids=["no draft", "MTP", "MTP, no prefix caching"],
)
def test_starts_of_a_hybrid_on_a_spark(
    memory_gib: float,
    weights_gib: float,
    vllm: str,
    args: Values,
    kv_gib: float,
    tokens: int,
    block: int,
    requests: float,
) -> None:
    entry, assumed = entry_of(QWEN36_27B, int(weights_gib * GIB))
    assert assumed == []
    spark = Host(int(memory_gib * GIB), highest=0.95)
    found = plan(entry, spark, args, {}, vllm)
    assert found["kv_bytes_least"] / GIB <= kv_gib <= found["kv_bytes_most"] / GIB
    assert found["kv_bytes"] / GIB == pytest.approx(kv_gib, rel=0.07)
    given = plan(entry, spark, {**args, "kv_cache_memory_bytes": int(kv_gib * GIB)}, {}, vllm)
    assert (given["kv_tokens"], given["block_tokens"], given["sequences"]) == (tokens, block, requests)


def test_how_many_requests_the_log_says() -> None:
    """M: vLLM 0.20.0 on a Spark with 40.61 GiB: `Maximum concurrency for 8,192 tokens per request: 35.75x`."""
    entry, _assumed = entry_of(GEMMA4_26B, int(48.49 * GIB))
    found = plan(entry, SPARK, {**SMALL_BATCHES, "kv_cache_memory_bytes": int(40.61 * GIB)}, {}, "0.20.0")
    assert found["sequences"] == pytest.approx(35.75, abs=0.01)
