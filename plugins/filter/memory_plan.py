# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: memory_plan
short_description: Whether a model fits into a host's memory, and how many tokens its KV cache gets
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Adds up weights, activations, CUDA graphs and the engine's own needs, and divides what is left into blocks of KV
    cache as vLLM 0.32 does. Nothing is asked, of no host and no hub.
  - Knows grouped heads, latent caches (MLA), sliding windows, layers that keep a state instead of a cache, KV caches of
    1, 2 and 4 bytes a number, and hosts that serve a model together by tensor parallelism.
  - What does not fit comes with the cheapest ways to make it fit, each of which was planned in turn.
  - The page C(docs/reference/memory.md) explains the sum, and says of each constant where it comes from.
positional: total_bytes, args
options:
  _input:
    description:
      - A model, as the lookup P(dgxspark.vllm.model#lookup) gives it. It needs C(weights_bytes), C(layers),
        C(kv_heads) and C(head_dim), and C(native_context) where O(args) has no C(max_model_len).
    type: dict
    required: true
  total_bytes:
    description: Memory of the host, of which C(gpu_memory_utilization) is a share.
    type: int
    required: true
  args:
    description:
      - Options of C(vllm serve), by name with C(_). Those that size a cache are read, which are C(max_model_len),
        C(gpu_memory_utilization), C(max_num_batched_tokens), C(kv_cache_dtype), C(kv_cache_memory_bytes),
        C(num_gpu_blocks_override), C(block_size), C(tensor_parallel_size), C(dtype), C(enforce_eager),
        C(enable_prefix_caching), C(async_scheduling) and C(disable_hybrid_kv_cache_manager).
      - The share of the memory is taken as it is. The role lowers it to what the host has before it asks.
    type: dict
    default: {}
  environment:
    description:
      - Environment of the service. Only C(VLLM_CPU_KVCACHE_SPACE) is read, the size of the KV cache of vLLM's CPU build
        in GiB, and the sign that it is that build.
    type: dict
    default: {}
  hosts:
    description: How many hosts serve the model together. The plan is that of each of them.
    type: int
    default: 1
  max_utilization:
    description: Largest share of the memory that the host can give. Remedies stay below it, and below 0.90.
    type: float
    default: 0.95
  vllm:
    description:
      - Version of vLLM. From 0.14 on the KV cache of a quantized checkpoint is of the type that it asks for, which is
        C(kv_cache_dtype) of the model, unless O(args) says otherwise. Without a version it is planned as BF16.
    type: str
  models:
    description: The user's own models, as in C(vllm_models). They are looked at for a smaller form of the model.
    type: dict
    default: {}
seealso:
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Does the 70B model take its whole context on one Spark?
  ansible.builtin.debug:
    msg: "{{ plan.problem | default('yes', true) }}. {{ plan.remedies }}"
  vars:
    entry: "{{ lookup('dgxspark.vllm.model', 'llama33-70b-fp8') }}"
    plan: >-
      {{ entry | dgxspark.vllm.memory_plan(total_bytes=130674379980,
                                           args={'max_model_len': 131072, 'max_num_batched_tokens': 16384}) }}
# => one request of 131,072 tokens needs 40.0 GiB of KV cache, and there are 38.9 GiB, ...
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    fits:
      description: Whether vLLM would start, as far as memory decides it.
      type: bool
    problem:
      description: Why not, in one line. V(none) if it fits.
      type: str
    remedies:
      description: The cheapest ways to make it fit, at most three, each with its figures. Empty if it fits.
      type: list
      elements: str
    reasons:
      description: How the figures come about, and what was assumed, a line each.
      type: list
      elements: str
    utilization:
      description: The share of the memory.
      type: float
      sample: 0.9
    hosts:
      description: How many hosts it was planned for.
      type: int
      sample: 1
    total_bytes:
      description: Memory of the host.
      type: int
    needed_bytes:
      description:
        - What a start must find free. That is the share of the whole memory, also where the size of the KV cache was
          given. vLLM's CPU build needs no more than it uses then.
      type: int
    weights_bytes:
      description: The weights on each host.
      type: int
    activation_bytes:
      description: What a full batch needs.
      type: int
    graph_bytes:
      description: Captured CUDA graphs. 0 with C(enforce_eager).
      type: int
    engine_bytes:
      description: CUDA's context, communication and workspaces.
      type: int
    kv_bytes:
      description: What is left for the KV cache.
      type: int
    kv_tokens:
      description: Size of the KV cache in tokens, as vLLM's log gives it.
      type: int
      sample: 711696
    kv_cache_dtype:
      description: V(bf16), V(fp8) or V(float32).
      type: str
      sample: bf16
    kv_bytes_per_token:
      description: What one more token of context costs a host, in the layers that look at the whole context.
      type: int
      sample: 147456
    block_tokens:
      description: Tokens in a block.
      type: int
      sample: 16
    context:
      description: The context that was planned for.
      type: int
      sample: 32768
    max_context:
      description: The longest context that fits, at most what the model allows.
      type: int
      sample: 40960
    sequences:
      description: How many requests of the full context fit at once.
      type: float
      sample: 21.72
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, PlanError, plan_with_remedies


def memory_plan(
    entry: t.Any,
    total_bytes: t.Any,
    args: t.Any = None,
    environment: t.Any = None,
    hosts: t.Any = 1,
    max_utilization: t.Any = 0.95,
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
