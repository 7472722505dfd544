# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiny models of many shapes: what each keeps of a token is that of a real family, only smaller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]
POOL = {"VLLM_CPU_KVCACHE_SPACE": "1"}  # GiB

QWEN3: Config = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "bos_token_id": 637,
    "eos_token_id": 639,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "max_position_embeddings": 40960,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 640,
}
OTHER_HEADS = {**QWEN3, "head_dim": 96, "num_attention_heads": 12, "num_key_value_heads": 3}
# without head_dim: hidden size by heads
LLAMA = {
    **{name: value for name, value in QWEN3.items() if name != "head_dim"},
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
}
MISTRAL = {**QWEN3, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 1024}
GEMMA3 = {
    **QWEN3,
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 32,
    "rope_local_base_freq": 10000,
    "sliding_window": 512,
    "num_hidden_layers": 8,
    "layer_types": [*["sliding_attention"] * 3, "full_attention"] * 2,
}
# kinds that are nearly equally frequent are padded to one size
GEMMA3_PADDED = {
    **GEMMA3,
    "num_hidden_layers": 5,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention"],
}
GPT_OSS = {
    **QWEN3,
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "head_dim": 64,
    "num_hidden_layers": 4,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
}
DEEPSEEK = {
    **{name: value for name, value in QWEN3.items() if name not in ("head_dim", "attention_bias")},
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "max_position_embeddings": 16384,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 3,
}
QWEN3_NEXT = {
    **QWEN3,
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "head_dim": 64,
    "num_hidden_layers": 8,
    "layer_types": [*["linear_attention"] * 3, "full_attention"] * 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "partial_rotary_factor": 0.5,
    "mamba_ssm_dtype": "float32",
}
# Half a gigabyte in each of its embeddings.
LARGE = {**QWEN3, "vocab_size": 50_000, "hidden_size": 5120}


@dataclass(frozen=True)
class Case:
    name: str
    config: Config
    args: Config
    environment: dict[str, str] = field(default_factory=lambda: POOL)

    def weights_bytes(self) -> int:
        """Embeddings, attention and MLP of a Qwen3. The other shapes are so small that it does not matter."""
        size = self.config
        hidden, head = size["hidden_size"], size.get("head_dim", 64)
        tables = (1 if size["tie_word_embeddings"] else 2) * size["vocab_size"] * hidden
        attention = 2 * (size["num_attention_heads"] + size["num_key_value_heads"]) * head * hidden
        mlp = 3 * size["intermediate_size"] * hidden
        return 2 * (tables + size["num_hidden_layers"] * (attention + mlp))

    def as_dict(self) -> Config:
        return {"name": self.name, "config": self.config, "args": self.args, "environment": self.environment}


# Some processors make it so in any case.
FLOAT_STATES = {"mamba_ssm_cache_dtype": "float32"}
# vLLM's own kernel for a latent cache; a processor with AMX tiles would take another one, with longer blocks.
REFERENCE_KERNEL = {"attention_backend": "CPU_MLA"}
# The size of the pool is given: 1 GiB, or a number of blocks.
GIVEN = [
    Case("grouped heads", QWEN3, {"max_model_len": 32768}),
    Case("fp8 KV cache", QWEN3, {"max_model_len": 32768, "kv_cache_dtype": "fp8"}),
    Case("other heads", OTHER_HEADS, {"max_model_len": 30000}),
    Case("head_dim left out", LLAMA, {"max_model_len": 10000}),
    Case("tied embeddings", {**QWEN3, "tie_word_embeddings": True}, {"max_model_len": 32768}),
    Case("blocks given", QWEN3, {"max_model_len": 1000, "num_gpu_blocks_override": 14}),
    Case("only windows", MISTRAL, {"max_model_len": 32768, "max_num_batched_tokens": 4096}),
    Case("windows", GEMMA3, {"max_model_len": 32768, "max_num_batched_tokens": 4096}),
    Case("windows as full", GEMMA3, {"max_model_len": 32768, "disable_hybrid_kv_cache_manager": True}),
    Case("windows, padded", GEMMA3_PADDED, {"max_model_len": 32768}),
    Case("gpt-oss", GPT_OSS, {"max_model_len": 32768}),
    Case("latent cache", DEEPSEEK, {"max_model_len": 16384, **REFERENCE_KERNEL}),
    Case("states", QWEN3_NEXT, {"max_model_len": 32768, **FLOAT_STATES}),
    Case(
        "states, no prefix cache", QWEN3_NEXT, {"max_model_len": 8192, "enable_prefix_caching": False, **FLOAT_STATES}
    ),
]
# 14 blocks of 128 tokens, one of which is never given away
TOO_LONG = Case("too long", QWEN3, {"max_model_len": 32768, "num_gpu_blocks_override": 14})
# vLLM takes a share of the memory. The first tells what the engine itself takes on this machine.
SHARE = {"max_model_len": 32768, "gpu_memory_utilization": 0.25, "max_num_seqs": 1, "max_num_batched_tokens": 512}
REFERENCE = Case("share, tied embeddings", {**LARGE, "tie_word_embeddings": True}, SHARE, {})
SHARED = [
    Case("share, untied embeddings", LARGE, SHARE, {}),
    Case("share, more layers", {**LARGE, "intermediate_size": 4096, "num_hidden_layers": 6}, SHARE, {}),
]
