# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words for options of `vllm serve` that a version does not know: short forms, and options that vLLM has dropped."""

from __future__ import annotations

import json
import re
import typing as t

from .._common.plain import plain

# S: vllm/engine/arg_utils.py and entrypoints' cli_args.py of 0.32.
SHORT = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "dpn": "data_parallel_rank",
    "dpr": "data_parallel_start_rank",
    "dpl": "data_parallel_size_local",
    "dpa": "data_parallel_address",
    "dpp": "data_parallel_rpc_port",
    "dpb": "data_parallel_backend",
    "dph": "data_parallel_hybrid_lb",
    "dpe": "data_parallel_external_lb",
    "dpm": "data_parallel_multi_port_external_lb",
    "dcp": "decode_context_parallel_size",
    "pcp": "prefill_context_parallel_size",
    "ep": "enable_expert_parallel",
    "n": "nnodes",
    "r": "node_rank",
    "asc": "api_server_count",
    "q": "quantization",
    "sc": "speculative_config",
    "dc": "diffusion_config",
    "cc": "compilation_config",
    "ac": "attention_config",
}
_LEVEL = re.compile(r"o(\d?)")  # -O3, or -O 3
_REMOVE = "remove it"
# What to write where an option is gone. An option that only another name has replaced is found by that name.
GONE = {
    "disable_log_requests": f"{_REMOVE}: requests are logged with enable_log_requests only",
    "task": "write runner: pooling for embeddings and scores, else remove it",
    "swap_space": f"{_REMOVE}: on a Spark it would be the memory of the GPU",
    "max_seq_len_to_capture": _REMOVE,
    "cuda_graph_sizes": "write cudagraph_capture_sizes",
    "guided_decoding_backend": "write structured_outputs_config: {backend: ...}",
    "override_pooler_config": "write pooler_config",
    "rope_scaling": "write hf_overrides: {rope_parameters: {...}}",
    "rope_theta": "write hf_overrides: {rope_parameters: {...}}",
    "disable_mm_preprocessor_cache": "write mm_processor_cache_gb: 0",
    "disable_frontend_multiprocessing": _REMOVE,
    "disable_async_output_proc": _REMOVE,
    "num_lookahead_slots": _REMOVE,
    "preemption_mode": _REMOVE,
    "scheduler_delay_factor": _REMOVE,
    "calculate_kv_scales": _REMOVE,
    "num_scheduler_steps": _REMOVE,
    "use_v2_block_manager": _REMOVE,
    "device": _REMOVE,
    "enable_reasoning": f"{_REMOVE}: reasoning_parser is enough",
    "speculative_model": "write speculative_config: {model: ..., num_speculative_tokens: ...}",
    "num_speculative_tokens": "write speculative_config: {..., num_speculative_tokens: ...}",
}


def in_full(name: str, value: t.Any = None) -> str:
    """A short form as its option is written here; any other name as it is."""
    level = _LEVEL.fullmatch(name)
    return _optimization(level[1] or value) if level else SHORT.get(name, name)


def of_mapping(name: str) -> str:
    """The option of which `-cc.mode` or `--compilation-config.mode` is a part. -O was a short form of it, too."""
    return in_full("cc" if name == "o" else name)


def _optimization(value: t.Any) -> str:
    """What -O means: a level, or in older versions a mapping, which may be written as JSON."""
    if isinstance(value, dict):
        return f"compilation_config: {json.dumps(plain(value), ensure_ascii=False, default=str)}"
    if isinstance(value, str) and value.strip().startswith("{"):
        return f"compilation_config: {value.strip()}"
    is_level = not isinstance(value, bool) and re.fullmatch(r"\d", str(value))
    return f"optimization_level: {value}" if is_level else "optimization_level"


def written(name: str, value: t.Any = None) -> str | None:
    """What to write instead of an option that a version does not know; None if nothing is known of it."""
    full = in_full(name, value)
    return GONE.get(name) if full == name else f"write {full}"
