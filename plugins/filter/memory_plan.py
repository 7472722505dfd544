# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: memory_plan
short_description: Plan the memory of a model on a host, and the size of its KV cache
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Computes whether a model fits into the memory of a host. It adds up weights, activations, CUDA graphs and the
    overhead of the engine, and divides the rest into blocks of KV cache as vLLM 0.32 does. No host and no hub is
    contacted.
  - Supports grouped-query attention, latent caches (MLA), sliding windows, attention in chunks, heads of several
    lengths, layers with a state instead of a cache (Mamba, linear attention), models without a cache, KV caches of 1, 2
    and 4 bytes per value, weights that vLLM quantizes while loading, and tensor parallelism over several hosts.
  - If the model does not fit, the plan contains the least expensive remedies, each verified by a plan of its own.
  - The page C(docs/reference/memory.md) explains the computation and gives the source of each constant.
positional: total_bytes, args
options:
  _input:
    description:
      - A model, as returned by the lookup P(dgxspark.vllm.model#lookup). C(weights_bytes), C(layers), C(kv_heads) and
        C(head_dim) are required, and C(native_context) if O(args) has no C(max_model_len).
    type: dict
    required: true
  total_bytes:
    description: Memory of the host in bytes. C(gpu_memory_utilization) is a share of it.
    type: int
    required: true
  args:
    description:
      - Options of C(vllm serve), by name with C(_). Those that affect the memory are used, which are C(max_model_len),
        C(gpu_memory_utilization), C(max_num_batched_tokens), C(kv_cache_dtype), C(kv_cache_memory_bytes),
        C(num_gpu_blocks_override), C(block_size), C(tensor_parallel_size), C(dtype), C(enforce_eager),
        C(enable_prefix_caching), C(async_scheduling), C(disable_hybrid_kv_cache_manager), C(max_num_seqs),
        C(quantization), C(speculative_config), C(mamba_ssm_cache_dtype), C(limit_mm_per_prompt),
        C(language_model_only), C(cpu_offload_gb) and C(kv_offloading_size).
      - The share of the memory is used as given. The role reduces it to the memory of the host before it uses this
        filter.
    type: dict
    default: {}
  environment:
    description:
      - Environment of the service. C(VLLM_CPU_KVCACHE_SPACE) is the size of the KV cache of vLLM's CPU build in GiB. If
        it is set, the plan is made for that build. C(VLLM_ALLOW_LONG_MAX_MODEL_LEN) removes the context limit of the
        model.
    type: dict
    default: {}
  hosts:
    description: Number of hosts that serve the model together. The plan is for one of them.
    type: int
    default: 1
  max_utilization:
    description:
      - Largest possible share of the memory, including what is offloaded. Remedies use at most this share, and at most
        0.90.
    type: float
    default: 0.95
  vllm:
    description:
      - Version of vLLM. From 0.14 on, a quantized checkpoint specifies the type of its KV cache, which is
        C(kv_cache_dtype) of the model, unless it is set in O(args). Without a version it is planned as BF16.
      - Before 0.26, one batch is in flight instead of two, and prefix caching is off by default for models with states.
    type: str
  models:
    description: User-defined models, as in C(vllm_models). They are searched for a smaller variant of the model.
    type: dict
    default: {}
seealso:
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Show whether the 70B model fits with its full context on one Spark
  ansible.builtin.debug:
    msg: "{{ plan.problem | default('yes', true) }}. {{ plan.remedies }}"
  vars:
    entry: "{{ lookup('dgxspark.vllm.model', 'llama33-70b-fp8') }}"
    plan: >-
      {{ entry | dgxspark.vllm.memory_plan(total_bytes=130674379980,
                                           args={'max_model_len': 131072, 'max_num_batched_tokens': 16384}) }}
# => one request of 131,072 tokens needs 40.0 GiB of KV cache, and there are 36.6 GiB, ...
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    fits:
      description: Whether the memory is sufficient to start vLLM.
      type: bool
    problem:
      description: Why it does not fit, in one line. V(none) if it fits.
      type: str
    remedies:
      description: The least expensive remedies, at most three, each with its figures. Empty if it fits.
      type: list
      elements: str
    reasons:
      description: The steps of the computation and the assumptions, one line each.
      type: list
      elements: str
    utilization:
      description: Share of the memory.
      type: float
      sample: 0.9
    hosts:
      description: Number of hosts of the plan.
      type: int
      sample: 1
    total_bytes:
      description: Memory of the host.
      type: int
    needed_bytes:
      description:
        - Free memory that a start requires. This is the share of the whole memory and RV(_value.offloaded_bytes). If
          the size of the KV cache is given, it is the share, or all that is used if that is more. vLLM's CPU build
          requires only what it uses in that case.
      type: int
    offloaded_bytes:
      description:
        - Memory beside the share, for C(cpu_offload_gb) and this host's part of C(kv_offloading_size). On unified
          memory, it is the same memory.
      type: int
      sample: 0
    weights_bytes:
      description: Weights on each host, without those that C(cpu_offload_gb) moves out of the share.
      type: int
    activation_bytes:
      description: Activations of a full batch.
      type: int
    graph_bytes:
      description: CUDA graphs. 0 with C(enforce_eager).
      type: int
    engine_bytes:
      description: CUDA context, communication and workspaces.
      type: int
    kv_bytes:
      description: Remaining memory for the KV cache.
      type: int
    kv_bytes_least:
      description:
        - Smallest expected size of the KV cache. The memory for computation is estimated, and on unified memory vLLM
          counts any other growth during its measurement as its own. Equal to RV(_value.kv_bytes) if the size is given.
      type: int
    kv_bytes_most:
      description: Largest expected size of the KV cache.
      type: int
    request_bytes:
      description: KV cache that one request of the planned context needs.
      type: int
    kv_tokens_least:
      description: Tokens that fit into RV(_value.kv_bytes_least).
      type: int
      sample: 687776
    kv_tokens:
      description: Size of the KV cache in tokens, as logged by vLLM.
      type: int
      sample: 717312
    kv_cache_dtype:
      description: V(bf16), V(fp8) or V(float32).
      type: str
      sample: bf16
    kv_bytes_per_token:
      description: KV cache per token and host, in the layers with full attention.
      type: int
      sample: 147456
    block_tokens:
      description: Tokens per block.
      type: int
      sample: 16
    context:
      description: Context length of the plan.
      type: int
      sample: 32768
    max_context:
      description: Longest context that fits, at most that of the model.
      type: int
      sample: 40960
    sequences:
      description: Number of concurrent requests of the full context that fit.
      type: float
      sample: 21.89
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, PlanError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.remedies import plan_with_remedies
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.share import LARGEST


def memory_plan(
    entry: t.Any,
    total_bytes: t.Any,
    args: t.Any = None,
    environment: t.Any = None,
    hosts: t.Any = 1,
    max_utilization: t.Any = LARGEST,
    models: t.Any = None,
    vllm: t.Any = None,
) -> dict[str, t.Any]:
    for name, value in (("input", entry), ("args", args or {}), ("environment", environment or {})):
        if not isinstance(value, t.Mapping):
            raise AnsibleFilterError(f"memory_plan: {name} must be a mapping")
    try:
        host = Host(int(total_bytes), float(max_utilization), int(hosts))
    except (TypeError, ValueError):
        raise AnsibleFilterError("memory_plan: total_bytes, max_utilization and hosts must be numbers") from None
    if host.total <= 0 or host.number < 1:
        raise AnsibleFilterError("memory_plan: total_bytes and hosts must be above 0")
    try:
        return plan_with_remedies(
            plain(entry),
            host,
            plain(args or {}),
            plain(environment or {}),
            Catalog().models(plain(models or {})),
            str(vllm) if vllm else None,
        )
    except PlanError as error:
        raise AnsibleFilterError(f"memory_plan: {error}") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise AnsibleFilterError(f"memory_plan: nothing can be planned for {entry.get('id')} ({what})") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"memory_plan": memory_plan}
