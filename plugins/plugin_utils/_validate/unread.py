# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables that vLLM has dropped: it starts all the same and does not read them."""

from __future__ import annotations

import typing as t

from .._catalog.vllm_options import version_key

_MOE = "moe_backend"
_ATTENTION = "attention_config: {%s: ...}"
# What vllm_extra_args has instead. S: no file of vLLM 0.24.0 holds one of these names. Some are gone for longer.
_SINCE = "0.24"
_INSTEAD = {
    "VLLM_ATTENTION_BACKEND": "attention_backend",
    "VLLM_FLASH_ATTN_VERSION": _ATTENTION % "flash_attn_version",
    "VLLM_USE_TRTLLM_ATTENTION": _ATTENTION % "use_trtllm_attention",
    "VLLM_FLASHINFER_MOE_BACKEND": _MOE,
    "VLLM_USE_FLASHINFER_MOE_FP4": _MOE,
    "VLLM_USE_FLASHINFER_MOE_FP8": _MOE,
    "VLLM_USE_FLASHINFER_MOE_FP16": _MOE,
    "VLLM_USE_FLASHINFER_MOE_MXFP4_BF16": _MOE,
    "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8": _MOE,
    "VLLM_MXFP4_USE_MARLIN": f"{_MOE}: marlin",
    "VLLM_NVFP4_GEMM_BACKEND": "linear_backend",
    "VLLM_ALL2ALL_BACKEND": "all2all_backend",
    "VLLM_TORCH_PROFILER_DIR": "profiler_config",
    "VLLM_USE_V1": "",
}
# What images of other makers read, and vLLM never did.
_OF_WRAPPERS = {
    "VLLM_MODEL": "vllm_model",
    "VLLM_MAX_MODEL_LEN": "vllm_max_model_len",
    "VLLM_GPU_MEMORY_UTILIZATION": "vllm_gpu_memory_utilization",
}


def notices(variables: t.Mapping[str, t.Any], vllm: str | None, has_own_start: bool) -> list[str]:
    """VARIABLES as in vllm_extra_env. No refusal: an image may have a vLLM of its own that reads them.

    With HAS_OWN_START a program of vllm_entrypoint starts vLLM, and may read what it likes.
    """
    if not vllm or version_key(vllm) < version_key(_SINCE):
        return []
    found = []
    for name in variables:
        if name in _OF_WRAPPERS and not has_own_start:
            remedy = f"set {_OF_WRAPPERS[name]}"
        elif name in _INSTEAD:
            instead = _INSTEAD[name]
            remedy = f"write {instead} in vllm_extra_args" if instead else "remove it"
        else:
            continue
        found.append(f"vllm_extra_env.{name}: vLLM {vllm} does not read it, and starts all the same; {remedy}")
    return found
