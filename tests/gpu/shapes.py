# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of catalog entries as config.json, for starts with weights of no meaning. Pure.

The quantization is named so that vLLM makes weights of the same kind. Which layers a published checkpoint leaves
unquantized is not always known: what vLLM says of the loaded weights counts, not the size in the entry.
"""

from __future__ import annotations

import typing as t

Config = dict[str, t.Any]

_BLOCKS: Config = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "weight_block_size": [128, 128],
    "modules_to_not_convert": ["lm_head"],
}
_STATIC: Config = {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}
_MODELOPT: Config = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"], "producer": {}}
_MXFP4: Config = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}
_LINEAR: Config = {
    "full_attention_interval": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_conv_kernel_dim": 4,
}
_ROPE_OF_THREE: Config = {
    "rope_type": "default",
    "rope_theta": 10000000,
    "partial_rotary_factor": 0.25,
    "mrope_section": [11, 11, 10],
    "mrope_interleaved": True,
}
_SEES: Config = {
    "depth": 27,
    "hidden_size": 1152,
    "num_heads": 16,
    "intermediate_size": 4304,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
}
_TOKENS_OF_PICTURES: Config = {
    "image_token_id": 11,
    "video_token_id": 12,
    "vision_start_token_id": 13,
    "vision_end_token_id": 14,
}


def _fp4(*ignored: str) -> Config:
    """NVFP4 as ModelOpt names it, without the layers that its published checkpoints leave as they are."""
    return {
        "quant_method": "modelopt_fp4",
        "quant_algo": "NVFP4",
        "kv_cache_scheme": None,
        "group_size": 16,
        "ignore": ["lm_head", *ignored],
        "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
    }


def _text(architecture: str, model_type: str, **fields: t.Any) -> Config:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "torch_dtype": "bfloat16",
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "rope_theta": 1000000,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **fields,
    }


def _shape(layers: int, hidden: int, inner: int, heads: int, kv_heads: int, head_dim: int) -> Config:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
    }


def _experts(number: int, chosen: int, inner: int, shared: int = 0) -> Config:
    found = {"num_experts": number, "num_experts_per_tok": chosen, "moe_intermediate_size": inner}
    return {**found, **({"shared_expert_intermediate_size": shared} if shared else {}), "norm_topk_prob": True}


def _qwen3(layers: int, hidden: int, inner: int, heads: int, quantization: Config) -> Config:
    shape = _shape(layers, hidden, inner, heads, 8, 128)
    rest = {"vocab_size": 151936, "max_position_embeddings": 40960, "quantization_config": quantization}
    return _text("Qwen3ForCausalLM", "qwen3", **shape, **rest)


def _qwen3_moe() -> Config:
    return _text(
        "Qwen3MoeForCausalLM",
        "qwen3_moe",
        **_shape(48, 2048, 6144, 32, 4, 128),
        **_experts(128, 8, 768),
        vocab_size=151936,
        max_position_embeddings=262144,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        quantization_config={**_BLOCKS, "modules_to_not_convert": ["lm_head", *_each("mlp.gate", 48)]},
    )


def _llama(layers: int, hidden: int, inner: int, heads: int, quantization: Config) -> Config:
    return _text(
        "LlamaForCausalLM",
        "llama",
        **_shape(layers, hidden, inner, heads, 8, 128),
        vocab_size=128256,
        max_position_embeddings=131072,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        quantization_config=quantization,
    )


def _gpt_oss(layers: int, experts: int) -> Config:
    return _text(
        "GptOssForCausalLM",
        "gpt_oss",
        **_shape(layers, 2880, 2880, 64, 8, 64),
        vocab_size=201088,
        max_position_embeddings=131072,
        initial_context_length=4096,
        sliding_window=128,
        swiglu_limit=7.0,
        attention_bias=True,
        num_local_experts=experts,
        num_experts_per_tok=4,
        layer_types=["sliding_attention", "full_attention"] * (layers // 2),
        rope_scaling={
            "rope_type": "yarn",
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
        },
        quantization_config=_MXFP4,
    )


def _each(name: str, layers: int, start: str = "model.layers") -> list[str]:
    return [f"{start}.{layer}.{name}" for layer in range(layers)]


def _next() -> Config:
    kept = [*_each("mlp.gate", 48), *_each("mlp.shared_expert_gate", 48), *_each("linear_attn.in_proj_ba", 48)]
    return _text(
        "Qwen3NextForCausalLM",
        "qwen3_next",
        **_shape(48, 2048, 5120, 16, 2, 256),
        **_experts(512, 10, 512, 512),
        **_LINEAR,
        linear_num_value_heads=32,
        vocab_size=151936,
        max_position_embeddings=262144,
        partial_rotary_factor=0.25,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        quantization_config={**_BLOCKS, "modules_to_not_convert": ["lm_head", *kept]},
    )


def _qwen35(shape: Config, values: int, quantization: Config, experts: Config | None = None) -> Config:
    kind = "qwen3_5_moe" if experts else "qwen3_5"
    interval = ["linear_attention"] * 3 + ["full_attention"]
    text = {
        **_text("", f"{kind}_text", **shape, **(experts or {}), **_LINEAR),
        "linear_num_value_heads": values,
        "vocab_size": 248320,
        "max_position_embeddings": 262144,
        "layer_types": interval * (shape["num_hidden_layers"] // 4),
        "mamba_ssm_dtype": "float32",
        "attn_output_gate": True,
        "mtp_num_hidden_layers": 1,
        "rope_parameters": _ROPE_OF_THREE,
    }
    del text["architectures"], text["rope_theta"]
    return {
        "architectures": [f"Qwen3_5{'Moe' if experts else ''}ForConditionalGeneration"],
        "model_type": kind,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": {**_SEES, "out_hidden_size": shape["hidden_size"], "deepstack_visual_indexes": []},
        "quantization_config": quantization,
        **_TOKENS_OF_PICTURES,
    }


def _parts_that_see() -> list[str]:
    """Layers of the vision encoder, which published FP8 checkpoints leave as they are; 4304 is no multiple of 128."""
    parts = ("attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
    blocks = [word for part in parts for word in _each(part, 27, "visual.blocks")]
    mergers = ["visual.merger", *(f"visual.deepstack_merger_list.{number}" for number in range(3))]
    return [*blocks, *(f"{merger}.linear_fc{number}" for merger in mergers for number in (1, 2))]


def _fp8_of_qwen35(layers: int) -> Config:
    names = ("mlp.gate", "mlp.shared_expert_gate", "linear_attn.in_proj_a", "linear_attn.in_proj_b")
    kept = [word for name in names for word in _each(name, layers, "model.language_model.layers")]
    return {**_BLOCKS, "modules_to_not_convert": ["lm_head", *_parts_that_see(), *kept]}


def _qwen3_vl() -> Config:
    text = _text("", "qwen3_vl_text", **_shape(36, 4096, 12288, 32, 8, 128))
    del text["architectures"], text["rope_theta"]
    text.update(
        vocab_size=151936,
        max_position_embeddings=262144,
        rope_theta=5000000,
        rope_scaling={"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True},
    )
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": {**_SEES, "out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24]},
        "quantization_config": {**_BLOCKS, "modules_to_not_convert": ["lm_head", *_parts_that_see()]},
        **_TOKENS_OF_PICTURES,
    }


def _gemma4() -> Config:
    """Its language model alone: what sees is left out in all of these starts."""
    return _text(
        "Gemma4ForCausalLM",
        "gemma4_text",
        **_shape(30, 2816, 2112, 16, 8, 256),
        vocab_size=262144,
        max_position_embeddings=262144,
        tie_word_embeddings=True,
        global_head_dim=512,
        num_global_key_value_heads=2,
        attention_k_eq_v=True,
        sliding_window=1024,
        num_kv_shared_layers=0,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=262144,
        enable_moe_block=True,
        use_double_wide_mlp=False,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 5,
        hidden_activation="gelu_pytorch_tanh",
        num_experts=128,
        top_k_experts=8,
        moe_intermediate_size=704,
        rope_parameters={
            "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1000000.0, "rope_type": "proportional"},
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
        },
        quantization_config=_fp4("*self_attn*", "*router*", "*mlp.*_proj", "*embed*"),
    )


def _nemotron(hidden: int, pattern: str, heads: int, experts: Config) -> Config:
    return _text(
        "NemotronHForCausalLM",
        "nemotron_h",
        **_shape(len(pattern), hidden, 1856, 32, 2, 128),
        **experts,
        vocab_size=131072,
        max_position_embeddings=262144,
        hybrid_override_pattern=pattern,
        mamba_num_heads=heads,
        mamba_head_dim=64,
        ssm_state_size=128,
        n_groups=8,
        conv_kernel=4,
        expand=2,
        chunk_size=128,
        use_conv_bias=True,
        use_bias=False,
        mamba_proj_bias=False,
        mamba_ssm_cache_dtype="float32",
        mamba_hidden_act="silu",
        mlp_hidden_act="relu2",
        layer_norm_epsilon=1e-5,
        attention_bias=False,
        mlp_bias=False,
        n_shared_experts=1,
        routed_scaling_factor=2.5,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        quantization_config=_fp4(
            "*in_proj*", "*out_proj*", "*conv1d*", "*q_proj*", "*k_proj*", "*v_proj*", "*o_proj*", "*qkv*"
        ),
    )


def _latent(architecture: str, model_type: str, shape: Config, experts: Config, **fields: t.Any) -> Config:
    rest = {"n_routed_experts": 64, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1}
    found = _text(architecture, model_type, **shape, **experts, **rest, kv_lora_rank=512, qk_rope_head_dim=64, **fields)
    del found["head_dim"]
    return found


_ALL_BUT_EXPERTS = ("*self_attn*", "*linear_attn*", "*shared_expert*", "*mlp.gate", "*visual*")

# By the name of the entry. Where two entries have one shape (Qwen3-Coder-30B-A3B, Qwen3-30B-A3B), one start is enough.
SHAPES: dict[str, Config] = {
    "qwen3-8b-fp8": _qwen3(36, 4096, 12288, 32, _BLOCKS),
    "nvidia-qwen3-8b-fp8": _qwen3(36, 4096, 12288, 32, _MODELOPT),
    "qwen3-32b-fp8": _qwen3(64, 5120, 25600, 64, _BLOCKS),
    "qwen3-30b-a3b-fp8": _qwen3_moe(),
    "llama31-8b-fp8": _llama(32, 4096, 14336, 32, _MODELOPT),
    "llama33-70b-fp8": _llama(80, 8192, 28672, 64, _MODELOPT),
    "llama33-70b-nvfp4": _llama(80, 8192, 28672, 64, _fp4()),
    "mistral-nemo-12b-fp8": _text(
        "MistralForCausalLM",
        "mistral",
        **_shape(40, 5120, 14336, 32, 8, 128),
        vocab_size=131072,
        max_position_embeddings=1024000,
        sliding_window=None,
        quantization_config=_STATIC,
    ),
    "gpt-oss-20b": _gpt_oss(24, 32),
    "gpt-oss-120b": _gpt_oss(36, 128),
    "qwen3-coder-next-fp8": _next(),
    "qwen3-vl-8b-fp8": _qwen3_vl(),
    "qwen36-35b-a3b-fp8": _qwen35(
        _shape(40, 2048, 5120, 16, 2, 256), 32, _fp8_of_qwen35(40), _experts(256, 8, 512, 512)
    ),
    "qwen36-35b-a3b-nvfp4": _qwen35(
        _shape(40, 2048, 5120, 16, 2, 256), 32, _fp4(*_ALL_BUT_EXPERTS), _experts(256, 8, 512, 512)
    ),
    "qwen35-122b-a10b-nvfp4": _qwen35(
        _shape(48, 3072, 5120, 32, 2, 256), 64, _fp4(*_ALL_BUT_EXPERTS), _experts(256, 8, 1024, 1024)
    ),
    "qwen38-27b-fp8": _qwen35(_shape(64, 5120, 17408, 24, 4, 256), 48, _fp8_of_qwen35(64)),
    "qwen38-27b-nvfp4": _qwen35(_shape(64, 5120, 17408, 24, 4, 256), 48, _fp4("*self_attn*", "*linear_attn*")),
    "qwen36-27b-nvfp4": _qwen35(_shape(64, 5120, 17408, 24, 4, 256), 48, _fp4("*in_proj_a", "*in_proj_b", "*visual*")),
    "gemma4-26b-a4b-nvfp4": _gemma4(),
    "nemotron35-lightning": _nemotron(
        2688,
        "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
        64,
        {
            "n_routed_experts": 128,
            "num_experts_per_tok": 6,
            "moe_intermediate_size": 1856,
            "moe_shared_expert_intermediate_size": 3712,
        },
    ),
    "nemotron3-super": _nemotron(
        4096,
        "MEMEMEM*EMEMEMEM*EMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEMEM*EMEMEMEM*EMEMEMEME",
        128,
        {
            "n_routed_experts": 512,
            "num_experts_per_tok": 22,
            "moe_intermediate_size": 2688,
            "moe_latent_size": 1024,
            "moe_shared_expert_intermediate_size": 5376,
            "num_nextn_predict_layers": 1,
            "mtp_hybrid_override_pattern": "*E",
        },
    ),
}
# Not in the catalog, which has no model with a latent cache (MLA). BF16, as published.
OTHERS: dict[str, Config] = {
    "deepseek-v2-lite": _latent(
        "DeepseekV2ForCausalLM",
        "deepseek_v2",
        _shape(27, 2048, 10944, 16, 16, 192),
        {"moe_intermediate_size": 1408, "num_experts_per_tok": 6, "n_shared_experts": 2, "topk_method": "greedy"},
        vocab_size=102400,
        max_position_embeddings=163840,
        q_lora_rank=None,
        qk_nope_head_dim=128,
        v_head_dim=128,
        scoring_func="softmax",
        norm_topk_prob=False,
        routed_scaling_factor=1.0,
    ),
    "glm-4.7-flash": _latent(
        "Glm4MoeLiteForCausalLM",
        "glm4_moe_lite",
        _shape(47, 2048, 10240, 20, 20, 256),
        {"moe_intermediate_size": 1536, "num_experts_per_tok": 4, "n_shared_experts": 1, "topk_method": "noaux_tc"},
        vocab_size=154880,
        max_position_embeddings=202752,
        q_lora_rank=768,
        qk_nope_head_dim=192,
        v_head_dim=256,
        scoring_func="sigmoid",
        norm_topk_prob=True,
        routed_scaling_factor=1.8,
        num_nextn_predict_layers=1,
    ),
}
# A draft model (EAGLE 3): one layer of the model that it drafts for, and three of that one's hidden states.
EAGLE3: Config = {
    **{k: v for k, v in _qwen3(1, 4096, 12288, 32, {}).items() if k != "quantization_config"},
    "architectures": ["LlamaForCausalLMEagle3"],
    "model_type": "llama",
    "draft_vocab_size": 32000,
}
# A model for faults, for which the shape does not matter: it loads in a second.
SMALL: Config = {k: v for k, v in _qwen3(4, 2048, 6144, 16, {}).items() if k != "quantization_config"}
# 131 GiB of weights, and more than any GPU here has memory.
LARGE: Config = {k: v for k, v in _llama(80, 8192, 28672, 64, {}).items() if k != "quantization_config"}
TOO_LARGE: Config = {**LARGE, "num_hidden_layers": 92}
