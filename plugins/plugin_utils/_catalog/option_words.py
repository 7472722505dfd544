# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words for options of `vllm serve` that a version does not know: short forms, and options that vLLM has dropped."""

from __future__ import annotations

import re

# S: vllm/engine/arg_utils.py of 0.32. -O has its level without a blank.
SHORT = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "q": "quantization",
    "n": "nnodes",
    "sc": "speculative_config",
    "cc": "compilation_config",
    "ac": "attention_config",
}
_LEVEL = re.compile(r"o([0-3])?")
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


def in_full(name: str) -> str:
    """A short form as its option is written here; any other name as it is."""
    level = _LEVEL.fullmatch(name)
    return f"optimization_level: {level[1] or 3}" if level else SHORT.get(name, name)


def written(name: str) -> str | None:
    """What to write instead of an option that a version does not know; None if nothing is known of it."""
    full = in_full(name)
    return GONE.get(name) if full == name else f"write {full}"
