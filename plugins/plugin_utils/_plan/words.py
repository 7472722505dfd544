# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A memory plan in words. Pure."""

from __future__ import annotations

import typing as t

from .._catalog.vllm_options import share_text

GIB = 1024**3

Plan = dict[str, t.Any]  # what memory.plan() returns


def reasons(found: Plan, is_given: bool, has_cache: bool) -> t.Iterator[str]:
    """How the figures come about, a line each."""
    share = f"{share_text(found['utilization'])} of {gib(found['total_bytes'])}"
    yield (
        "the size of the KV cache was given" if is_given and has_cache else f"{share} is {gib(found['needed_bytes'])}"
    )
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
