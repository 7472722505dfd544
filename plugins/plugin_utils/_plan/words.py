# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A memory plan in words. Pure."""

from __future__ import annotations

import typing as t

from .._catalog.vllm_options import share_text

GIB = 1024**3

Plan = dict[str, t.Any]  # what memory.plan() returns
ROUNDING = 1  # byte that a share of the memory may be off by


class Bounds(t.NamedTuple):
    """What a plan is measured by."""

    most: float  # bytes that the host can give, with what is offloaded
    given_by: str | None  # the option that gives the size of the KV cache; empty where there is none to give
    limit: int | None  # the longest context that the model allows
    loading: int  # bytes of the weights before they are quantized
    vllm: str | None
    streamed: str  # the first version that needs no more for loading than afterwards


def problem(found: Plan, bounds: Bounds) -> str | None:
    """Why it does not fit, in one line."""
    weights, size, offloaded, context = (
        found[name] for name in ("weights_bytes", "kv_bytes", "offloaded_bytes", "context")
    )
    rest = found["activation_bytes"] + found["graph_bytes"] + found["engine_bytes"]
    used, requested = weights + rest + size, found["total_bytes"] * found["utilization"]
    is_given, need = bounds.given_by is not None, found["request_bytes"]
    computing = "for activations, graphs and the engine"
    share = f"{share_text(found['utilization'])} of {gib(found['total_bytes'])}"
    beside = f" beside {gib(offloaded)} of offloading" if offloaded else ""
    most = bounds.most - offloaded
    if is_given and used > most + ROUNDING:
        return (
            f"{gib(size)} of KV cache were asked for, and with {gib(weights)} of weights and {gib(rest)} {computing}"
            f" that is more than the {gib(max(most, 0))} that this host can give{beside}"
        )
    if bounds.limit and context > bounds.limit:
        return f"{context:,} tokens of context are more than the {bounds.limit:,} that the model allows"
    if offloaded and not is_given and requested > most + ROUNDING:
        return (
            f"{gib(offloaded)} of offloading lie beside the {gib(requested)} that vLLM may use ({share}), in the same"
            f" memory: more than the {gib(bounds.most)} that this host can give"
        )
    if weights + rest > requested + ROUNDING and not is_given:
        return (
            f"{gib(weights)} of weights and {gib(rest)} {computing} are more than the {gib(requested)} that vLLM may"
            f" use ({share}){beside}"
        )
    if bounds.loading > bounds.most:
        return (
            f"vLLM {bounds.vllm} loads {gib(bounds.loading)} of weights before it quantizes them, more than the"
            f" {gib(bounds.most)} that this host can give; {bounds.streamed} and later do so layer by layer"
        )
    if need > size:
        less = f", {share} less {gib(weights)} of weights and {gib(rest)} {computing}{beside}"
        return (
            f"one request of {context:,} tokens needs {gib(need)} of KV cache, and there are {gib(size)}"
            f"{f', given by {bounds.given_by}' if is_given else less}"
        )
    return None


def reasons(found: Plan, is_given: bool, has_cache: bool) -> t.Iterator[str]:
    """How the figures come about, a line each."""
    share = f"{share_text(found['utilization'])} of {gib(found['total_bytes'])}"
    requested = found["total_bytes"] * found["utilization"]
    yield "the size of the KV cache was given" if is_given and has_cache else f"{share} is {gib(requested)}"
    if found["offloaded_bytes"]:
        yield f"offloading takes {gib(found['offloaded_bytes'])} beside that, of the same memory"
    yield f"weights {gib(found['weights_bytes'])}{' on each host' if found['hosts'] > 1 else ''}"
    yield (
        f"activations {gib(found['activation_bytes'])}, graphs {gib(found['graph_bytes'])},"
        f" the engine {gib(found['engine_bytes'])}"
    )
    if not has_cache:
        yield "the model keeps nothing of a request: it has no KV cache"
        return
    yield f"KV cache ({found['kv_cache_dtype']}) {gib(found['kv_bytes'])}: {holds(found)}"
    if found["kv_bytes_least"] != found["kv_bytes_most"]:
        yield f"it may turn out between {gib(found['kv_bytes_least'])} and {gib(found['kv_bytes_most'])}"


def holds(found: Plan) -> str:
    requests = f"{found['sequences']:.{1 if found['sequences'] >= 1 else 2}f}"
    return f"{found['kv_tokens']:,} tokens, {requests} requests of {found['context']:,} tokens"


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
