# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory plan: does a model with these options fit on a host, and if not, what would. Pure.

docs/reference/memory.md explains it.

vLLM takes its share of the memory (gpu_memory_utilization), loads the weights, measures what a full batch needs, and
makes a KV cache of the rest. The plan does the same sum beforehand.
"""

from __future__ import annotations

import math
import typing as t

from .._catalog.vllm_options import tokens_of, version_key, whole
from . import kv_cache

GIB = 1024**3
# What is needed beside weights and KV cache. W: nobody has published a measurement on a Spark; at 16384 batched tokens
# the three make the 3 GiB that the figures of docs/reference/memory.md are computed with.
ENGINE_BYTES = int(0.6 * GIB)  # CUDA's context, communication, workspaces
GRAPH_BYTES = int(0.5 * GIB)  # captured CUDA graphs
ACTIVATION_BYTES = int(1.9 * GIB / 16384)  # of each token of a batch
# What vLLM takes when nothing is said.
UTILIZATION = 0.9
BATCHED_TOKENS = 2048
# Where the host became unstable for others (M: sparky-cluster, ADR-0028): no advice goes higher.
HIGHEST_ADVICE = 0.90
# The first vLLM whose `auto` is the KV cache that a quantized checkpoint asks for. W: vllm-project/vllm pull request
# 30785 is of 2025-12-16, about the time of 0.13; S: the source of 0.32 does so.
ASKS_CHECKPOINT = "0.14"
# Options that bring models of their own, whose weights and caches nobody knows here.
MORE_MODELS = ("speculative_config", "spec_model", "enable_lora", "lora_modules")
NUMBERS = (
    *("weights_bytes", "layers", "kv_heads", "head_dim", "native_context", "config_context", "extended_context"),
    *("sliding_window", "full_attention_layers", "latent_dim", "state_layers", "state_bytes"),
)
CPU_POOL = "VLLM_CPU_KVCACHE_SPACE"  # GiB: the one way to size the pool of vLLM's CPU build

Entry = t.Mapping[str, t.Any]
Plan = dict[str, t.Any]


class PlanError(ValueError):
    """One line that says what is wrong with what was given."""


class Host(t.NamedTuple):
    """What there is to plan with."""

    total: int  # bytes that vLLM takes its share of
    highest: float  # the largest share that the host can give
    number: int = 1  # hosts that serve the model together


def plan(entry: Entry, host: Host, args: t.Mapping[str, t.Any], environment: t.Mapping[str, t.Any]) -> Plan:
    """The plan for one model with these options of `vllm serve`, without remedies."""
    given = _Given(entry, args, environment, host.number)
    share = given.share
    weights = _ceil(int(entry["weights_bytes"]), given.parallel)
    rest = given.activations + given.graphs + ENGINE_BYTES
    requested = math.ceil(host.total * share)
    pool = given.pool()
    size = given.pool_bytes(pool)
    is_given = size is not None
    if size is None:
        size = max(0, requested - weights - rest)
    blocks = size // pool.block_bytes
    context = given.context
    longest = pool.longest(size, given.limit or max(context or 0, entry.get("extended_context") or 0))
    if context is None:  # vLLM is told to find it
        context = max(longest, 1)
    need = pool.bytes_of(context)
    needed = weights + rest + size if is_given and given.on_cpu else requested
    found: Plan = {
        "fits": True,
        "problem": None,
        "utilization": share,
        "hosts": host.number,
        "total_bytes": host.total,
        "needed_bytes": needed,
        "weights_bytes": weights,
        "activation_bytes": given.activations,
        "graph_bytes": given.graphs,
        "engine_bytes": ENGINE_BYTES,
        "kv_bytes": size,
        "kv_tokens": pool.tokens(blocks, context),
        "kv_cache_dtype": given.dtype,
        "kv_bytes_per_token": given.token_bytes * given.layers.full,
        "block_tokens": pool.block,
        "context": context,
        "max_context": longest,
        "sequences": round(blocks / pool.blocks_of(context), 2),
    }
    used = weights + rest + size
    most = int(host.total * host.highest)
    if is_given and used > most:
        found["problem"] = (
            f"{_gib(size)} of KV cache were asked for, and with {_gib(weights)} of weights and {_gib(rest)} for"
            f" activations, graphs and the engine that is more than the {_gib(most)} that this host can give"
        )
    elif given.limit and context > given.limit:
        found["problem"] = f"{context:,} tokens of context are more than the {given.limit:,} that the model allows"
    elif weights + rest > requested and not is_given:
        found["problem"] = (
            f"{_gib(weights)} of weights and {_gib(rest)} for activations, graphs and the engine are more than the"
            f" {_gib(requested)} that vLLM may use ({_share(share)} of {_gib(host.total)})"
        )
    elif need > size:
        found["problem"] = (
            f"one request of {context:,} tokens needs {_gib(need)} of KV cache, and there are {_gib(size)}"
        )
        if not is_given:
            found["problem"] += (
                f", {_share(share)} of {_gib(host.total)} less {_gib(weights)} of weights and {_gib(rest)} for"
                " activations, graphs and the engine"
            )
    found["fits"] = found["problem"] is None
    found["reasons"] = [*_reasons(found, is_given), *given.assumed]
    return found


def plan_with_remedies(
    entry: Entry,
    host: Host,
    args: t.Mapping[str, t.Any],
    environment: t.Mapping[str, t.Any],
    catalog: t.Mapping[str, Entry],
    vllm: str | None = None,
) -> Plan:
    """The plan for this version of vLLM, and if it does not fit, the three cheapest ways in which it does."""
    entry = _for_version(entry, vllm)
    catalog = {name: _for_version(other, vllm) for name, other in catalog.items()}
    found = plan(entry, host, args, environment)
    found["remedies"] = [] if found["fits"] else list(_remedies(found, entry, host, args, environment, catalog))[:3]
    return found


def _for_version(entry: Entry, vllm: str | None) -> Entry:
    """The entry as this version of vLLM reads it; of an unknown one the dearer reading is taken."""
    if vllm is not None and version_key(vllm) >= version_key(ASKS_CHECKPOINT):
        return entry
    return {**entry, "kv_cache_dtype": None}


def _remedies(
    found: Plan,
    entry: Entry,
    host: Host,
    args: t.Mapping[str, t.Any],
    environment: t.Mapping[str, t.Any],
    catalog: t.Mapping[str, Entry],
) -> t.Iterator[str]:
    """From the cheapest to the dearest; each of them fits by the same plan."""

    def tried(what: Entry = entry, where: Host = host, **changes: t.Any) -> Plan:
        return plan(what, where, {**args, **changes}, environment)

    context = found["context"]
    rounded = found["max_context"] // 1024 * 1024 or found["max_context"]
    if 0 < rounded < context:
        yield f"vllm_max_model_len: {rounded} instead of {context}; {found['max_context']} is the longest that fits"
    if args.get("kv_cache_memory_bytes") is not None:
        rest = found["weights_bytes"] + found["activation_bytes"] + found["graph_bytes"] + found["engine_bytes"]
        most = max(int(host.total * host.highest) - rest, 0) // GIB * GIB
        fitting = tried(kv_cache_memory_bytes=most)
        if fitting["fits"]:
            yield f"vllm_extra_args: {{kv_cache_memory_bytes: {most}}}; KV cache of {_holds(fitting)}"
    best = math.floor(min(host.highest, HIGHEST_ADVICE) * 100) / 100
    if best > found["utilization"]:
        fitting = tried(gpu_memory_utilization=best)
        if fitting["fits"]:
            instead = f"{best} instead of {found['utilization']}"
            yield f"vllm_gpu_memory_utilization: {instead}; KV cache of {_holds(fitting)}"
    if found["kv_cache_dtype"] != "fp8":
        fitting = tried(kv_cache_dtype="fp8")
        if fitting["fits"]:
            yield f"vllm_extra_args: {{kv_cache_dtype: fp8}}; KV cache of {_holds(fitting)}"
    for name, other in _smaller(entry, catalog):
        fitting = tried(other)
        if fitting["fits"]:
            yield f"vllm_model: {name}, with {_gib(fitting['weights_bytes'])} of weights; KV cache of {_holds(fitting)}"
            break
    for number in (2, 4, 8):
        if number <= host.number:
            continue
        fitting = tried(where=host._replace(number=number))
        if fitting["fits"]:
            together = f"{number} hosts that serve it together, which this collection does not deploy yet"
            yield f"{together}; KV cache of {_holds(fitting)}"
            break


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


class _Given:
    """What entry, options and environment say, in numbers."""

    def __init__(
        self, entry: Entry, args: t.Mapping[str, t.Any], environment: t.Mapping[str, t.Any], number: int
    ) -> None:
        self.entry, self.args, self.environment = entry, args, environment
        self.assumed: list[str] = []
        wrong = [name for name in NUMBERS if entry.get(name) is not None and whole(entry[name]) is None]
        if wrong:
            raise PlanError(f"nothing can be planned for {entry.get('id')}: {', '.join(wrong)} must be a whole number")
        needed = ["weights_bytes", "layers", "kv_heads", "head_dim"]
        if tokens_of(args.get("max_model_len")) in (None, -1):
            needed.append("native_context")
        missing = [name for name in needed if not entry.get(name)]
        if missing:
            raise PlanError(f"nothing can be planned for {entry.get('id')}: {', '.join(missing)} is not known")
        self.on_cpu = bool(environment.get(CPU_POOL))
        self.parallel = max(1, number, whole(args.get("tensor_parallel_size")) or 1)
        self.share = _number(args.get("gpu_memory_utilization"), UTILIZATION)
        self.batched = tokens_of(args.get("max_num_batched_tokens")) or BATCHED_TOKENS
        self.activations = self.batched * ACTIVATION_BYTES
        self.graphs = 0 if args.get("enforce_eager") is True or self.on_cpu else GRAPH_BYTES
        self.dtype, width = self._dtype()
        latent = whole(entry.get("latent_dim"))
        heads = max(1, int(entry["kv_heads"]) // self.parallel)
        self.token_bytes = latent * width if latent else 2 * heads * int(entry["head_dim"]) * width
        self.layers = self._layers()
        more = [name for name in MORE_MODELS if args.get(name)]
        if more:
            self.assumed.append(f"the further models of {' and '.join(more)} are not planned")

    @property
    def context(self) -> int | None:
        """Tokens; None if vLLM is to find the longest that fits."""
        value = self.args.get("max_model_len")
        if value is None:
            return int(self.entry.get("config_context") or self.entry["native_context"])
        if str(value) in ("auto", "-1"):
            return None
        return tokens_of(value) or int(self.entry["native_context"])

    @property
    def limit(self) -> int | None:
        """The longest context that vLLM allows; None if the options stretch it, or nobody knows."""
        if self.args.get("rope_scaling") or self.args.get("hf_overrides"):
            return None
        limit = self.entry.get("config_context") or self.entry.get("native_context")
        return int(limit) if limit else None

    def _dtype(self) -> tuple[str, int]:
        wanted = str(self.args.get("kv_cache_dtype") or "auto")
        own = self.entry.get("kv_cache_dtype")
        if wanted == "auto" and own:
            self.assumed.append(f"its checkpoint asks for a KV cache of {own}")
            wanted = str(own)
        if wanted.startswith("fp8"):
            return "fp8", 1
        if wanted == "auto" and str(self.args.get("dtype") or "") in ("float32", "float"):
            return "float32", 4
        if wanted not in ("auto", "bfloat16", "float16", "half"):
            self.assumed.append(f"kv_cache_dtype {wanted} is planned with 2 bytes a number, as if it were BF16")
        return "bf16", 2

    def _layers(self) -> kv_cache.Layers:
        every, window = int(self.entry["layers"]), whole(self.entry.get("sliding_window")) or 0
        full = self.entry.get("full_attention_layers")
        full = (0 if window else every) if full is None else int(full)
        return kv_cache.Layers(
            full=full if window else every,
            window=every - full if window else 0,
            state=whole(self.entry.get("state_layers")) or 0,
            window_tokens=window,
            token_bytes=self.token_bytes,
            state_bytes=_ceil(whole(self.entry.get("state_bytes")) or 0, self.parallel),
        )

    def pool(self) -> kv_cache.Pool:
        block = whole(self.args.get("block_size")) or (kv_cache.CPU_BLOCK if self.on_cpu else kv_cache.BLOCK)
        if self.on_cpu and self.entry.get("latent_dim"):
            block = kv_cache.BLOCK
        # newer versions compute the next batch while the last one is still in use
        batches = 1 if self.on_cpu or self.args.get("async_scheduling") is False else 2
        states = 1 if self.args.get("enable_prefix_caching") is False else 2
        hybrid = self.args.get("disable_hybrid_kv_cache_manager") is not True
        return kv_cache.pool(self.layers, block, batches * self.batched, states, hybrid)

    def pool_bytes(self, pool: kv_cache.Pool) -> int | None:
        """The pool's size where it is given. None where vLLM takes what the share of the memory leaves."""
        blocks = whole(self.args.get("num_gpu_blocks_override"))
        if blocks:
            return blocks * pool.block_bytes
        if self.environment.get(CPU_POOL):
            return int(_number(self.environment[CPU_POOL], 0) * GIB)
        return tokens_of(self.args.get("kv_cache_memory_bytes"))


def _reasons(found: Plan, is_given: bool) -> t.Iterator[str]:
    """How the figures come about, a line each."""
    share = f"{_share(found['utilization'])} of {_gib(found['total_bytes'])}"
    yield "the size of the KV cache was given" if is_given else f"{share} is {_gib(found['needed_bytes'])}"
    yield f"weights {_gib(found['weights_bytes'])}{' on each host' if found['hosts'] > 1 else ''}"
    yield (
        f"activations {_gib(found['activation_bytes'])}, graphs {_gib(found['graph_bytes'])},"
        f" the engine {_gib(found['engine_bytes'])}"
    )
    yield f"KV cache ({found['kv_cache_dtype']}) {_gib(found['kv_bytes'])}: {_holds(found)}"


def _holds(found: Plan) -> str:
    requests = f"{found['sequences']:.{1 if found['sequences'] >= 1 else 2}f}"
    return f"{found['kv_tokens']:,} tokens, {requests} requests of {found['context']:,} tokens"


def _share(share: float) -> str:
    return f"{share:.2f}"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _number(value: t.Any, default: float) -> float:
    try:
        number = float(default if value is None else value)
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) else default
