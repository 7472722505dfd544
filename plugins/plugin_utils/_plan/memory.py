# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory plan: does a model with these options fit on a host. Pure.

docs/reference/memory.md explains it; remedies.py has what would fit instead.

vLLM takes its share of the memory (gpu_memory_utilization), loads the weights, measures what a full batch needs, and
makes a KV cache of the rest. The plan does the same sum beforehand.
"""

from __future__ import annotations

import math
import typing as t

from .._catalog.option_values import fits, takes_any_context
from .._catalog.vllm_options import DRAFTS, mapping_of, speculative_of, tokens_of, version_key, whole
from . import cache_types, compressed, experts, kv_cache, offloading
from .stages import Stage, stages
from .words import GIB, Bounds, Plan, gib, problem, reasons

# What is needed beside weights and KV cache, by causes. docs/reference/memory.md names the logs.
ENGINE_BYTES = int(0.5 * GIB)  # M: CUDA context, communication, workspaces: 0.48 to 0.57 GiB in six logs of vLLM 0.24
ACTIVATION_BYTES = int(1.9 * GIB / 16384)  # W: of each token of a batch, where a model's shapes are not known
GRAPH_LAYER_BYTES = 165_000  # M: a captured graph of one layer; 30 graphs of 36 layers took 0.17 GiB (vLLM 0.24)
SAMPLER_BYTES = 10  # C: logits in BF16 and float32, and their probabilities, of each request and word
DRAFT_STATES = 2 * 5  # C: hidden states of five layers that a draft model reads, and their copy
# How far from the truth that may be, as a share of it. On unified memory whatever else grows while vLLM measures
# counts as its own. M: two starts of one model on one Spark differ by 3.4 GiB.
UNCERTAIN, UNIFIED_BYTES = 0.25, int(3.5 * GIB)
NO_MODEL = ("ngram", "suffix")  # ways to draft that need no model
DSPARK = "dspark"  # a draft model, or layers in the files of DeepSeek V4
DRAFT_BYTES = int(1.5 * GIB)  # W: a draft model whose weights nobody has said
# What vLLM takes when nothing is said: on a GPU with that much memory, and on a smaller one.
UTILIZATION = 0.9
LARGE_BYTES = 70 * GIB
BATCHED_TOKENS, SEQUENCES = (8192, 2048), (1024, 256)
# The first vLLM whose `auto` is the KV cache that a quantized checkpoint asks for. W: vllm-project/vllm pull request
# 30785 is of 2025-12-16, about the time of 0.13; S: the source of 0.32 does so.
ASKS_CHECKPOINT = "0.14"
# S: the sources of these versions and of those before them.
RULES = "0.32.0"  # whose rules are taken where no version is said
TWO_BATCHES = "0.26.0"  # the next batch is computed while the last one still holds its blocks
STATES_CACHED = "0.26.0"  # prefix caching is on for models with states, if nothing is said
STATES_ALIGNED = "0.28.0"  # before, Mamba layers kept a state for each block, where prefix caching was asked for
STATE_CHECKPOINT = "0.32.0"  # a Mamba layer keeps one state more, for what comes back to a prefix
NEARLY_EQUAL = "0.18.0"  # groups are made of the most frequent kind up to 1.5 times the rarest; before, up to 1.25
ONLINE_STREAMED = "0.16.0"  # before, a model that is quantized at the start was loaded whole at first
# Weights that vLLM makes smaller while it loads them: bytes of a stored one that remain.
ONLINE = {
    **dict.fromkeys(("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8"), 0.5),
    **dict.fromkeys(("int8_per_channel_weight_only", "experts_int8"), 0.5),
    **dict.fromkeys(("nvfp4_per_token", "bitsandbytes"), 0.28),
}
# Options that bring models of their own, whose weights and caches nobody knows here.
SPECULATIVE = ("speculative_config", "spec_model")
MORE_MODELS = (*SPECULATIVE, "enable_lora", "lora_modules")
NUMBERS = (
    *("weights_bytes", "layers", "kv_heads", "head_dim", "native_context", "config_context", "extended_context"),
    *("sliding_window", "full_attention_layers", "latent_dim", "index_dim", "index_layers", "state_layers"),
    *("state_bytes", "hidden_layers"),
    *("state_matrix", "state_width", "state_channels", "state_chunk", "activation_bytes", "vision_bytes", "vocab_size"),
    *("embedding_bytes", "mtp_layers", "dspark_layers", "value_head_dim", "hidden_size", "experts", "expert_size"),
)

Entry = t.Mapping[str, t.Any]


class PlanError(ValueError):
    """One line that says what is wrong with what was given."""


class Host(t.NamedTuple):
    """What there is to plan with."""

    total: int  # bytes that vLLM takes its share of
    highest: float  # the largest share that the host can give, with what is offloaded
    number: int = 1  # hosts that serve the model together


def plan(
    entry: Entry,
    host: Host,
    args: t.Mapping[str, t.Any],
    environment: t.Mapping[str, t.Any],
    vllm: str | None = RULES,
) -> Plan:
    """The plan for one model with these options of `vllm serve`, without remedies. Of several stages of a pipeline, the
    one that has room for the fewest tokens says how many blocks all of them have."""
    givens = [_Given(entry, host, args, environment, vllm, stage) for stage in stages(entry, args, environment)]
    return min(map(_plan, givens), key=lambda each: (each["fits"], each["kv_tokens"], -each["needed_bytes"]))


def _plan(given: _Given) -> Plan:
    entry, host, args, environment, share = given.entry, given.host, given.args, given.environment, given.share
    stored = _ceil(given.weights, given.ranks)
    moved = min(offloading.weights(args), stored)
    offloaded = moved + _ceil(offloading.cache(args, environment, given.parallel), given.parallel)
    weights = stored - moved
    rest = given.activations + given.graphs + ENGINE_BYTES
    requested = math.ceil(host.total * share)
    pool = given.pool()
    size = given.pool_bytes(pool)
    is_given = size is not None
    if size is None:
        size = max(0, requested - weights - rest)
    blocks = pool.blocks_in(size)
    context = given.context
    longest = pool.longest(size, given.limit or max(context or 0, entry.get("extended_context") or 0))
    if context is None:  # vLLM is told to find it
        context = max(longest, 1)
    need = pool.bytes_of(context)
    needed = requested + offloaded
    if is_given:  # the share is looked for at the start, and is no limit after it
        needed = max(0 if given.on_cpu else requested, weights + rest + size + offloaded)
    less, more = (0, 0) if is_given else given.uncertainty
    found: Plan = {
        "fits": True,
        "problem": None,
        "utilization": share,
        "hosts": host.number,
        "total_bytes": host.total,
        "needed_bytes": needed,
        "offloaded_bytes": offloaded,
        "weights_bytes": weights,
        "activation_bytes": given.activations,
        "graph_bytes": given.graphs,
        "engine_bytes": ENGINE_BYTES,
        "kv_bytes": size,
        "kv_bytes_least": max(0, size - less),
        "kv_bytes_most": size + more,
        "kv_tokens": pool.tokens(blocks, context),
        "request_bytes": need,
        "kv_tokens_least": pool.tokens(pool.blocks_in(max(0, size - less)), context),
        "kv_cache_dtype": given.dtype,
        "kv_bytes_per_token": given.bytes_of_a_token,
        "block_tokens": pool.block,
        "context": context,
        "max_context": longest,
        "sequences": round(pool.sequences(blocks, context), 2),
    }
    most, loading = host.total * host.highest, _ceil(given.loading, given.ranks)
    given_by = (offloading.pool_option(args, environment) or "") if is_given else None
    bounds = Bounds(most, given_by, given.limit, loading, given.vllm, ONLINE_STREAMED)
    found["problem"] = problem(found, bounds)
    found["fits"] = found["problem"] is None
    found["reasons"] = [*reasons(found, is_given, bool(pool.groups)), *given.assumed]
    return found


class _Given:
    """What entry, options, environment and version say, in numbers."""

    def __init__(
        self,
        entry: Entry,
        host: Host,
        args: t.Mapping[str, t.Any],
        environment: t.Mapping[str, t.Any],
        vllm: str | None,
        stage: Stage,
    ) -> None:
        self.entry, self.host, self.args, self.environment, self.vllm = entry, host, args, environment, vllm
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
        is_small = host.total < LARGE_BYTES
        self.on_cpu = bool(environment.get(offloading.CPU_POOL))
        self.parallel = max(1, host.number, tokens_of(args.get("tensor_parallel_size")) or 1)
        self.stage = stage  # a part of the layers, with all heads
        self.ranks = max(1, self.parallel // stage.number)
        self.share = _number(args.get("gpu_memory_utilization"), UTILIZATION)
        self.batched = tokens_of(args.get("max_num_batched_tokens")) or BATCHED_TOKENS[is_small or self.on_cpu]
        self.requests = tokens_of(args.get("max_num_seqs")) or SEQUENCES[is_small or self.on_cpu]
        self.speculative: Entry = speculative_of(args)
        self.method = str(self.speculative.get("method")).lower()
        self.drafts = tokens_of(self.speculative.get(DRAFTS)) or self._drafting()  # as many as vLLM takes by itself
        draft = whole(self._draft.get("weights_bytes")) or 0
        self.weights, self.loading = (stage.weights(entry, own, draft) for own in self._weights())
        self.activations = self._activations()
        self.graphs = 0 if args.get("enforce_eager") is True or self.on_cpu else self._graphs()
        self.compressed = compressed.shape(entry, self._drafting(), stage)
        self.dtype, self.width = self._dtype()
        self.kinds = self._kinds()
        more = [name for name in MORE_MODELS if args.get(name)]
        if self._is_known_draft():
            more = [name for name in more if name not in SPECULATIVE]
        if more:
            self.assumed.append(f"the further models of {' and '.join(more)} are not planned")
        if unknown := offloading.unknown(args, environment):
            self.assumed.append(f"{unknown} is not planned")

    def _since(self, version: str) -> bool:
        """Whether this vLLM is at least that one. An unknown one is taken for a new one."""
        return self.vllm is None or version_key(self.vllm) >= version_key(version)

    def _whole(self, name: str) -> int:
        return whole(self.entry.get(name)) or 0

    @property
    def context(self) -> int | None:
        """Tokens; None if vLLM is to find the longest that fits."""
        value = self.args.get("max_model_len")
        if value is None:
            return int(self.entry.get("config_context") or self.entry["native_context"])
        if fits(value):
            return None
        return tokens_of(value) or int(self.entry["native_context"])

    @property
    def limit(self) -> int | None:
        """The longest context that vLLM allows; None if options or environment lift it, or nobody knows."""
        if self.args.get("rope_scaling") or self.args.get("hf_overrides"):
            return None
        if takes_any_context(self.environment):
            return None
        limit = self.entry.get("config_context") or self.entry.get("native_context")
        return int(limit) if limit else None

    @property
    def uncertainty(self) -> tuple[int, int]:
        """How many bytes less, and how many more, the KV cache may turn out."""
        rest = int(UNCERTAIN * (self.activations + self.graphs + ENGINE_BYTES))
        draft = DRAFT_BYTES if self.drafts and not self._is_known_draft() else 0
        return rest + draft + (0 if self.on_cpu else UNIFIED_BYTES), rest

    @property
    def bytes_of_a_token(self) -> int:
        """What one more token costs, in the layers that look at the whole context."""
        return sum(kind.number * kind.bytes_ for kind in self.kinds if kind.kind == kv_cache.FULL)

    @property
    def _draft(self) -> Entry:
        """What the entry says of the draft model that these options name."""
        draft = self.entry.get("draft")
        wanted = self.speculative.get("model")
        return draft if isinstance(draft, t.Mapping) and wanted and draft.get("id") == wanted else {}

    def _weights(self) -> tuple[int, int]:
        """Bytes of its own weights as they are served, and while they are loaded."""
        padded = experts.padding(self.entry, self.args, self.ranks)
        stored = int(self.entry["weights_bytes"]) + padded
        if padded:
            self.assumed.append(f"{gib(padded)} of the weights pad its experts to the tiles of Marlin")
        left = ONLINE.get(str(self.args.get("quantization") or "").lower())
        if left is None or self.entry.get("quantization"):
            return stored, stored
        kept = min(self._whole("embedding_bytes"), stored)
        served = kept + int((stored - kept) * left)
        self.assumed.append(
            f"{self.args['quantization']} makes {gib(served)} of the {gib(stored)} of weights at the start"
        )
        return served, served if self._since(ONLINE_STREAMED) else stored

    def _activations(self) -> int:
        """The most that computing takes at one time: the widest layer, the pictures of a batch, or choosing tokens."""
        if self.on_cpu:
            return self.batched * ACTIVATION_BYTES
        forward = self.batched * self._widest()
        if self.drafts and not self._is_mtp():
            forward += self.batched * self._whole("hidden_size") * DRAFT_STATES * 2
        pictures = self.batched * self._whole("vision_bytes") if self._sees() else 0
        choosing = self.requests * self._whole("vocab_size") * SAMPLER_BYTES
        return max(forward, pictures, choosing)

    def _widest(self) -> int:
        """Bytes for a token in the widest layer. Ranks divide what is inside it, but not what goes in and comes out.

        Experts work on whole copies of that. A model has experts if a token needs less than half of its weights.
        """
        widest, hidden = self._whole("activation_bytes") or ACTIVATION_BYTES, self._whole("hidden_size")
        ranks = tokens_of(self.args.get("tensor_parallel_size")) or 1
        if not hidden or 2 * self._whole("active_bytes") < self._whole("weights_bytes"):
            return widest
        kept = min(widest, 2 * hidden * 2)
        return kept + _ceil(widest - kept, ranks)

    def _sees(self) -> bool:
        """Whether the parts that see are loaded and measured."""
        limits = mapping_of(self.args.get("limit_mm_per_prompt"))
        if all(tokens_of(limits.get(kind, default)) == 0 for kind, default in (("image", 1), ("video", 0))):
            return False
        return self.args.get("language_model_only") is not True

    def _graphs(self) -> int:
        """A graph for each size of a batch up to twice the requests, and for each up to their number."""
        most = min(2 * self.requests, 512)
        number = _captured(most) + _captured(min(self.requests, most))
        layers = max(int(self.entry["layers"]) + self._whole("state_layers"), 1)
        return number * layers * GRAPH_LAYER_BYTES

    def _dtype(self) -> tuple[str, int]:
        wanted = str(self.args.get("kv_cache_dtype") or "auto")
        if self.compressed:  # which vLLM keeps in its own form of FP8
            return "fp8", 1
        # of an unknown version the larger cache is planned
        own = self.entry.get("kv_cache_dtype") if self.vllm and self._since(ASKS_CHECKPOINT) else None
        if wanted == "auto" and own:
            self.assumed.append(f"its checkpoint asks for a KV cache of {own}")
            wanted = str(own)
        if wanted in cache_types.PACKED and not self._whole("latent_dim"):
            return wanted, 1
        if wanted.startswith("fp8"):
            return "fp8", 1
        if wanted == "auto" and str(self.args.get("dtype") or "") in ("float32", "float"):
            return "float32", 4
        if wanted not in ("auto", "bfloat16", "float16", "half"):
            self.assumed.append(f"kv_cache_dtype {wanted} is planned with 2 bytes a number, as if it were BF16")
        return "bf16", 2

    def _kinds(self) -> list[kv_cache.Layers]:
        if self.compressed:
            self._kept([self.entry], planned=False)
            return compressed.kinds(self.compressed)
        listed = self.entry.get("attention_kinds")
        latent = self._whole("latent_dim")
        if isinstance(listed, (list, tuple)):
            kinds = [kind for kind in listed if isinstance(kind, t.Mapping)]
        else:
            every, window = int(self.entry["layers"]), self._whole("sliding_window")
            full = self.entry.get("full_attention_layers")
            full = (0 if window else every) if full is None else int(full)
            kinds = [{**self.entry, "layers": full if window else every, "sliding_window": 0}]
            if window:
                kinds.append({**self.entry, "layers": every - full})
        found = [self._kind(kind, latent) for kind in self._kept(kinds, planned=not latent)]
        if self._whole("index_dim"):  # of sparse attention: a key of 8 bits a number, and its scale
            every = self._whole("index_layers") or sum(kind.number for kind in found)
            found.append(kv_cache.Layers(kv_cache.FULL, every, self._whole("index_dim") + 4, latent=True))
        found = [kind._replace(number=self.stage.of(kind.number)) for kind in found]
        if self.stage.is_last:
            found = self._with_drafts(found, latent)
        states = self.stage.of(self._whole("state_layers"))
        if states:
            size = _ceil(cache_types.state_bytes(self.entry, self.args, self.drafts), self.ranks)
            found.append(kv_cache.Layers(kv_cache.STATE, states, size))
        return found

    def _with_drafts(self, found: list[kv_cache.Layers], latent: int) -> list[kv_cache.Layers]:
        if self._whole("index_dim"):
            found[-1] = found[-1]._replace(number=found[-1].number + self._drafting())
        own = self.entry.get("mtp_kinds") if self._is_mtp() else None
        if isinstance(own, (list, tuple)):
            found += [self._kind(kind, latent) for kind in own if isinstance(kind, t.Mapping)]
        elif found:
            found[0] = found[0]._replace(number=found[0].number + self._drafting())
        return found + [self._kind(kind, 0) for kind in self._draft.get("attention_kinds") or []]

    def _kept(self, kinds: list[Entry], planned: bool) -> list[Entry]:
        """These kinds of layers, and what of them is not quantized as the others are."""
        if self.width != 1:
            return kinds
        found, unknown = cache_types.kept(kinds, self.args, self._whole("state_layers"), planned)
        if unknown:
            self.assumed.append(f"{unknown} of {cache_types.SKIPPED} are not planned")
        return found

    def _is_mtp(self) -> bool:
        return "mtp" in self.method

    def _drafting(self) -> int:
        """Layers in the model's own files that these options draft with."""
        if self.method == DSPARK and self._drafts_itself():
            return self._whole("dspark_layers")
        return self._whole("mtp_layers") if self._is_mtp() else 0

    def _drafts_itself(self) -> bool:
        return self.speculative.get("model") in (None, "", self.entry.get("id"))

    def _is_known_draft(self) -> bool:
        """Whether what drafts is the model itself, no model at all, or one of which the entry says how large it is."""
        own = self._is_mtp() or self.method.startswith(NO_MODEL) or bool(self._drafting())
        return bool(self._draft.get("weights_bytes")) or (own and self._drafts_itself())

    def _kind(self, kind: t.Mapping[str, t.Any], latent: int) -> kv_cache.Layers:
        heads = max(1, (whole(kind.get("kv_heads")) or 1) // self.ranks)
        keys = whole(kind.get("head_dim")) or 1
        values = whole(kind.get("value_head_dim")) or keys
        vector = cache_types.PACKED.get(self.dtype, lambda numbers: numbers * self.width)
        if kind.get("is_kept") or (kind.get("sliding_window") and cache_types.keeps_windows(self.args)):
            vector = cache_types.in_bf16 if self.width == 1 else vector
        size = latent * self.width if latent else heads * (vector(keys) + vector(values))
        if latent and self.width == 1 and self._whole("index_dim"):
            size = latent + cache_types.PACKED_BYTES
        name, tokens = (kv_cache.CROSS, self.batched) if kind.get("cross") else (kv_cache.FULL, 0)
        for field, other in _OTHER_KINDS.items():
            if kind.get(field):
                name, tokens = other, int(kind[field])
        return kv_cache.Layers(name, whole(kind.get("layers")) or 0, size, tokens, bool(latent))

    def pool(self) -> kv_cache.Pool:
        block = tokens_of(self.args.get("block_size")) or (kv_cache.CPU_BLOCK if self.on_cpu else kv_cache.BLOCK)
        if self.on_cpu and self.entry.get("latent_dim"):
            block = kv_cache.BLOCK
        one = self.on_cpu or self.args.get("async_scheduling") is False or not self._since(TWO_BATCHES)
        hybrid = self.args.get("disable_hybrid_kv_cache_manager") is not True
        in_flight = (1 if one else 2) * self.batched
        if self.compressed:
            return compressed.pool(self.compressed, in_flight)
        asked = self.args.get("enable_prefix_caching")
        cached = self._since(STATES_CACHED) if asked is None else asked is not False
        states = (2 if cached else 1) + self.drafts
        chunk = self._whole("state_chunk")
        if cached and chunk and self._since(STATE_CHECKPOINT):
            states += 1
        if cached and chunk and not self.drafts and not self._since(STATES_ALIGNED):
            block, states = math.lcm(block, chunk), 0
        nearly = 1.5 if self._since(NEARLY_EQUAL) else 1.25
        return kv_cache.pool(self.kinds, block, in_flight, states, hybrid, nearly)

    def pool_bytes(self, pool: kv_cache.Pool) -> int | None:
        """The pool's size where it is given. None where vLLM takes what the share of the memory leaves."""
        if not pool.groups:
            return 0
        option = offloading.pool_option(self.args, self.environment)
        if option == offloading.CPU_POOL:
            return int(_number(self.environment[option], 0) * GIB)
        size = tokens_of(self.args.get(option)) if option else None
        return size * pool.block_bytes if size and option == offloading.POOL_BLOCKS else size


_OTHER_KINDS = {
    "sliding_window": kv_cache.WINDOW,
    "attention_chunk": kv_cache.CHUNK,
}


def _captured(most: int) -> int:
    """How many sizes of a batch vLLM captures up to one: 1, 2, 4, multiples of 8, and of 16 above 256."""
    return sum(size <= most for size in (1, 2, 4, *range(8, 257, 8), *range(272, 513, 16)))


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _number(value: t.Any, default: float) -> float:
    try:
        number = float(default if value is None else value)
    except (TypeError, ValueError):
        return default
    return number if math.isfinite(number) else default
