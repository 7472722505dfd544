# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of vLLM that can be switched off. A trace that leads through one names the switch, whatever was raised there.

The first one that matches counts.
"""

from __future__ import annotations

from ..entries import Feature

FEATURES: tuple[Feature, ...] = (
    Feature(
        "speculative decoding",
        r"spec_decode/|/speculator|models/\w*(?:_mtp|eagle|medusa|dflash|speculator)\w*\.py|rejection_sampler",
        "drop speculative_config from vllm_extra_args",
        says=r"\b(?:draft(?:er)?[ _]model|speculat(?:ive|or)|spec[_ ]decod\w*|EAGLE-?3?|Medusa|aux_hidden_state\w*)\b",
        optional=True,
        used=r"speculative_config(?:=|['\"]: ?)(?:SpeculativeConfig\(|\{)",
    ),
    Feature(
        "the Transformers backend",
        r"model_executor/models/transformers/",
        "remove model_impl: transformers from vllm_extra_args, if it is set there,",
        optional=True,
    ),
    Feature(
        "LoRA",
        r"vllm/lora/|lora_model_runner",
        "remove enable_lora and lora_modules from vllm_extra_args",
        says=r"\bLoRA\b",
        inner=True,
        optional=True,
    ),
    Feature(
        "the transfer or offloading of the KV cache",
        r"kv_connector|kv_transfer|kv_offload|lmcache|nixl",
        "remove kv_transfer_config and kv_offloading_size from vllm_extra_args",
        says=r"\bKV[ _]?connector|\bKV[ _](?:cache )?(?:transfer|offload)|\bLMCache\b|\bNIXL\b",
        inner=True,
        optional=True,
        used=r"kv_transfer_config(?:=|['\"]: ?)(?:KVTransferConfig\(|\{)|['\"]kv_offloading_size['\"]: ?[\d.]",
    ),
    Feature(
        "a KV cache in TurboQuant's format",
        r"turboquant",
        "remove kv_cache_dtype from vllm_extra_args, or set it to fp8 there,",
        says=r"\bTurboQuant\b",
        inner=True,
        optional=True,
        used=r"kv_cache_dtype(?:=|['\"]: ?)['\"]?turboquant",
    ),
    Feature(
        "structured output",
        r"structured_output/|xgrammar/|outlines(?:_core)?/|llguidance/",
        "set another backend in structured_outputs_config (vllm_extra_args)",
        inner=True,
    ),
    Feature(
        "symmetric memory of several GPUs",
        r"symm_mem",
        "set VLLM_ALLREDUCE_USE_SYMM_MEM: 0 in vllm_extra_env",
        inner=True,
        optional=True,
    ),
    Feature(
        "vLLM's own all-reduce",
        r"custom_all_reduce|custom_ar|quick_all_reduce",
        "set disable_custom_all_reduce: true in vllm_extra_args",
        inner=True,
        optional=True,
    ),
    Feature(
        "FlashInfer's all-reduce",
        # the exchange between experts uses the same package, and these switches do not concern it
        r"\A(?![\s\S]*(?:all2all|alltoall|_a2a))[\s\S]*?(?:flashinfer_all_reduce|allreduce_\w*fusion|flashinfer/comm/)",
        "set VLLM_ALLREDUCE_USE_FLASHINFER: 0 in vllm_extra_env and pass_config: {fuse_allreduce_rms: false} in"
        " compilation_config (vllm_extra_args)",
        inner=True,
        optional=True,
    ),
    Feature(
        "the exchange between experts",
        r"device_communicators/all2all|/pplx_kernels/|/deep_ep/|/nvshmem",
        "remove all2all_backend from vllm_extra_args and VLLM_ALL2ALL_BACKEND from vllm_extra_env",
        inner=True,
        optional=True,
    ),
    Feature(
        "the plan of the start",
        r"worker/startup_plan",
        "set VLLM_ENABLE_STARTUP_PLAN: 0 in vllm_extra_env",
        optional=True,
    ),
    Feature(
        "the reasoning parser",
        r"vllm/reasoning/",
        "set the reasoning_parser of the model's card in vllm_extra_args, or none,",
        inner=True,
        optional=True,
    ),
    Feature(
        "the tool parser",
        r"/tool_parsers/",
        "set the tool_call_parser of the model's card in vllm_extra_args, or none,",
        inner=True,
        optional=True,
    ),
    Feature(
        "a loader of weights that is not the default one",
        r"fastsafetensors|runai_streamer|runai_model_streamer|instanttensor|tensorizer|sharded_state_loader",
        "set load_format: auto in vllm_extra_args",
        optional=True,
    ),
    Feature(
        "FlashInfer's sampler",
        r"topk_topp_sampler|flashinfer/sampling",
        "set VLLM_USE_FLASHINFER_SAMPLER: 0 in vllm_extra_env",
        optional=True,
    ),
    Feature(
        "DeepGEMM",
        r"deep_gemm",
        "set VLLM_USE_DEEP_GEMM: 0 in vllm_extra_env",
        inner=True,
        optional=True,
    ),
    Feature(
        "FlashInfer's tuning of kernels",
        r"flashinfer_autotune|flashinfer/autotuner",
        "set enable_flashinfer_autotune: false in vllm_extra_args",
        when="start",
    ),
    Feature(
        "the state of a hybrid model",
        r"layers/mamba/|mamba_hybrid|mamba_utils|mamba\d?_attn|gdn_attn|layers/fla/|gdn_linear",
        "set enable_prefix_caching: false in vllm_extra_args",
        inner=True,
        when="serve",
    ),
    Feature(
        "the second model runner",
        r"vllm/v1/worker/gpu/",
        "set VLLM_USE_V2_MODEL_RUNNER: 0 in vllm_extra_env",
        inner=True,
        optional=True,
    ),
    Feature(
        "images, video or audio",
        r"vllm/multimodal/",
        "set limit_mm_per_prompt in vllm_extra_args to zero for text only",
        inner=True,
        when="start",
    ),
    Feature(
        "the capture of CUDA graphs",
        # the estimate of their memory first makes a small KV cache: what fails there is no graph
        r"\A(?![\s\S]*_init_minimal_kv_cache)[\s\S]*?(?::capture_model: |cuda_graph\.py|cudagraph)",
        "set enforce_eager: true in vllm_extra_args",
        when="start",
    ),
)

# Kernels of which vLLM has several: an exception of one of them names the option that selects another.
BACKENDS: tuple[Feature, ...] = (
    Feature(
        "the kernels of the experts",
        r"fused_moe/|/moe/|layers/.*_moe\.py",
        "set moe_backend: marlin (of unquantized weights: triton) in vllm_extra_args",
    ),
    Feature(
        "the kernels of MLA",
        r"attention/backends/mla/|/mla\.py|mla_attention|sparse_mla|flash_?mla",
        "set another attention_backend in vllm_extra_args (TRITON_MLA, unless the attention is sparse)",
    ),
    Feature(
        "the kernels of the attention",
        r"attention/backends/|flash_attn/|flashinfer/(?:decode|prefill|xqa|attention)",
        "set attention_backend: TRITON_ATTN (FLASHINFER, if the trace names Triton) in vllm_extra_args",
    ),
    Feature(
        "the kernels of the linear layers",
        r"scaled_mm|fp8_utils|kernels/linear|layers/linear\.py|flashinfer/gemm|quantization/utils",
        "set linear_backend: marlin in vllm_extra_args",
    ),
)
