# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would make a model fit that does not: other options, a smaller form of it, more hosts. Pure.

Each remedy is planned again and fits by the same plan. docs/reference/memory.md lists them.
"""

from __future__ import annotations

import itertools
import math
import typing as t

from .._catalog.option_values import wrong_values
from . import offloading
from .memory import Entry, Host, PlanError, plan
from .words import GIB, Plan, gib, holds

# Where the host became unstable for others (M: sparky-cluster, ADR-0028): no advice goes higher.
HIGHEST_ADVICE = 0.90


def plan_with_remedies(
    entry: Entry,
    host: Host,
    args: t.Mapping[str, t.Any],
    environment: t.Mapping[str, t.Any],
    catalog: t.Mapping[str, Entry],
    vllm: str | None = None,
) -> Plan:
    """The plan for this version of vLLM, and if it does not fit, the three cheapest ways in which it does."""
    sizes = ((name, offloading.wrong_size(name, value)) for name, value in (*args.items(), *environment.items()))
    if wrong := [*wrong_values(args), *(f"{name}: {line}" for name, line in sizes if line)]:
        raise PlanError(f"nothing can be planned for {entry.get('id')}: {wrong[0]}")
    found = plan(entry, host, args, environment, vllm)
    ways = () if found["fits"] else _remedies(found, entry, host, args, environment, catalog, vllm)
    found["remedies"] = list(itertools.islice(ways, 3))
    return found


def _remedies(
    found: Plan,
    entry: Entry,
    host: Host,
    args: t.Mapping[str, t.Any],
    environment: t.Mapping[str, t.Any],
    catalog: t.Mapping[str, Entry],
    vllm: str | None,
) -> t.Iterator[str]:
    """From the cheapest to the dearest; each of them fits by the same plan."""

    def tried(what: Entry = entry, where: Host = host, **changes: t.Any) -> Plan:
        variables = {name: changes.pop(name) for name in (offloading.CPU_POOL,) if name in changes}
        return plan(what, where, {**args, **changes}, {**environment, **variables}, vllm)

    given = offloading.pool_option(args, environment)
    is_small = bool(given) and found["request_bytes"] > found["kv_bytes"]
    if given == offloading.POOL_BLOCKS:
        fitting = tried(num_gpu_blocks_override=None)
        if fitting["fits"]:
            yield f"no {given}; KV cache of {holds(fitting)}"
    elif given and is_small:
        yield from _given(given, math.ceil(found["request_bytes"] / GIB), tried)
    context = found["context"]
    rounded = found["max_context"] // 1024 * 1024 or found["max_context"]
    if 0 < rounded < context:
        yield f"vllm_max_model_len: {rounded} instead of {context}; {found['max_context']} is the longest that fits"
    if given in (offloading.POOL, offloading.CPU_POOL) and not is_small:
        rest = found["weights_bytes"] + found["activation_bytes"] + found["graph_bytes"] + found["engine_bytes"]
        most = max(int(host.total * host.highest) - rest - found["offloaded_bytes"], 0)
        yield from _given(given, int(most // GIB), tried)
    best = _hundredths(min(host.highest - found["offloaded_bytes"] / host.total, HIGHEST_ADVICE))
    if best > found["utilization"] or found["offloaded_bytes"]:
        fitting = tried(gpu_memory_utilization=best)
        if fitting["fits"]:
            instead = f"{best} instead of {found['utilization']}"
            yield f"vllm_gpu_memory_utilization: {instead}; KV cache of {holds(fitting)}"
    if found["offloaded_bytes"]:
        offloaded = offloading.named(args, environment)
        best = _hundredths(min(host.highest, HIGHEST_ADVICE))
        changes: dict[str, t.Any] = {"gpu_memory_utilization": best, **dict.fromkeys(offloaded)}
        fitting = tried(**changes)
        if fitting["fits"]:
            without = f"no {' and no '.join(offloaded)}"
            yield f"{without}, and vllm_gpu_memory_utilization: {best}; KV cache of {holds(fitting)}"
    if found["kv_cache_dtype"] != "fp8":
        fitting = tried(kv_cache_dtype="fp8")
        if fitting["fits"]:
            yield f"vllm_extra_args: {{kv_cache_dtype: fp8}}; KV cache of {holds(fitting)}"
    for name, other in _smaller(entry, catalog):
        fitting = tried(other)
        if fitting["fits"]:
            yield f"vllm_model: {name}, with {gib(fitting['weights_bytes'])} of weights; KV cache of {holds(fitting)}"
            break
    for number in (2, 4, 8):
        if number <= host.number:
            continue
        fitting = tried(where=host._replace(number=number))
        if fitting["fits"]:
            together = f"{number} hosts that serve it together (vllm_nodes)"
            yield f"{together}; KV cache of {holds(fitting)}"
            break


def _given(option: str, size: int, tried: t.Callable[..., Plan]) -> t.Iterator[str]:
    """SIZE GiB by the option that gives the size of the KV cache."""
    is_variable = option == offloading.CPU_POOL
    value = size if is_variable else size * GIB
    fitting = tried(**{option: value})
    if fitting["fits"]:
        where = "vllm_extra_env" if is_variable else "vllm_extra_args"
        yield f"{where}: {{{option}: {value}}}; KV cache of {holds(fitting)}"


def _hundredths(share: float) -> float:
    return math.floor(share * 100 + 1e-9) / 100


def _smaller(entry: Entry, catalog: t.Mapping[str, Entry]) -> t.Iterator[tuple[str, Entry]]:
    """The same model with fewer bytes a weight, the most precise first: same size, same shape."""
    same = ("parameters", "layers", "kv_heads", "head_dim")
    found = [
        (name, other)
        for name, other in catalog.items()
        if entry.get("parameters")
        and all(other.get(key) == entry.get(key) for key in same)
        and (other.get("weights_bytes") or math.inf) < 0.95 * entry["weights_bytes"]
    ]
    yield from sorted(found, key=lambda item: -int(item[1]["weights_bytes"]))
