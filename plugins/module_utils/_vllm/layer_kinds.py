# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each layer of a model keeps for a request, read from its config.json. Pure."""

from __future__ import annotations

import collections
import typing as t

from .config_values import MOST_LAYERS, Config, count_of_layers, listed, number, wrong

FULL, WINDOW, CHUNK, STATE, CROSS = "full", "window", "chunk", "state", "cross"
# How config files name kinds of layers: in layer_types, layers_block_type, or with a character a layer.
_WORDS: t.Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("full_attention", "attention", "full", "global", "global_attention", "*"), (FULL,)),
    **dict.fromkeys(("deepseek_sparse_attention", "indexed_attention"), (FULL,)),  # beside which are keys: sparse.py
    **dict.fromkeys(("compressed_sparse_attention", "heavily_compressed_attention"), (FULL,)),  # the same
    **dict.fromkeys(("sliding_attention", "sliding", "local", "local_attention", "swa", "sliding_window"), (WINDOW,)),
    **dict.fromkeys(("chunked_attention", "chunked"), (CHUNK,)),
    **dict.fromkeys(("linear_attention", "linear", "mamba", "mamba2", "conv", "kda", "recurrent", "M"), (STATE,)),
    "hybrid": (STATE, FULL),  # of Zamba 2: a Mamba layer with shared attention beside it
    "hybrid_sliding": (STATE, WINDOW),
    **dict.fromkeys(("none", "mlp", "moe", "dense", "-", "E"), ()),
}
# Families whose config.json names a window that vLLM does not use unless this says so.
_WINDOW_SWITCH = "use_sliding_window"
_ONLY_WINDOWS = ("mistral", "mixtral", "phi3", "starcoder2")
# Families that read a whole text at once: they answer with vectors, and keep nothing.
_ENCODERS = (
    *("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "distilbert", "modernbert", "nomic_bert", "new"),
    *("gte", "mpnet", "electra", "deberta", "deberta-v2", "eurobert", "t5_encoder", "bert_with_rope", "snowflake"),
)
# Decoders that vLLM makes encoders of, whatever their config.json says (S: its own table of such models).
_MADE_ENCODERS = (
    *("LlamaBidirectionalModel", "LlamaBidirectionalForSequenceClassification", "VoyageQwen3BidirectionalEmbedModel"),
    *("LlamaNemotronVLModel", "LlamaNemotronVLForSequenceClassification"),
)
# Families with a latent vector in their files, whose cache vLLM keeps as keys and values all the same.
_NO_LATENT = ("minicpm3",)
# Families whose Mamba layers are the second Mamba's as vLLM has it: some versions keep more states of those.
_SECOND_MAMBA = ("nemotron_h", "granitemoehybrid", "falcon_h1", "bamba", "zamba2", "mamba2")
_FLOAT_STATES = ("nemotron_h", "kimi_linear")  # where nothing else is said


class Kind(t.NamedTuple):
    """Layers with attention that keep the same."""

    kind: str
    layers: int
    kv_heads: int = 0
    head_dim: int = 0
    value_head_dim: int = 0  # where it is another than head_dim
    tokens: int = 0  # of the window, or of the chunk

    def fields(self) -> dict[str, t.Any]:
        """As an item of `attention_kinds` in an entry."""
        names = {WINDOW: "sliding_window", CHUNK: "attention_chunk"}
        found: dict[str, t.Any] = {"layers": self.layers, "kv_heads": self.kv_heads, "head_dim": self.head_dim}
        if self.value_head_dim not in (0, self.head_dim):
            found["value_head_dim"] = self.value_head_dim
        if self.kind in names:
            found[names[self.kind]] = self.tokens
        if self.kind == CROSS:
            found["cross"] = True
        return found


class State(t.NamedTuple):
    """What one request keeps in a layer with a state of constant size."""

    channels: int  # of a convolution
    kernel: int
    matrix: int  # numbers
    width: int  # bytes of each of them
    chunk: int = 0  # tokens that the second Mamba computes at once

    @property
    def bytes_(self) -> int:
        return 2 * self.channels * (self.kernel - 1) + self.width * self.matrix


def keeps_nothing(config: Config, text: Config) -> bool:
    """Whether it is an encoder, which has no KV cache."""
    named = config.get("architectures")
    if str(text.get("model_type")) in _ENCODERS or (
        isinstance(named, list) and set(_MADE_ENCODERS) & {*map(str, named)}
    ):
        return True
    return any(part.get(name) is value for part in (config, text) for name, value in _BOTH_WAYS)


_BOTH_WAYS = (("is_causal", False), ("use_bidirectional_attention", True))


def has_latent_cache(text: Config) -> bool:
    return bool(number(text, "kv_lora_rank")) and str(text.get("model_type")) not in _NO_LATENT


def number_of_layers(text: Config) -> int:
    """Those that may keep something: each of the decoder's, as often as it does."""
    each = 2 if _is_longcat(text) else rounds(text)
    found = hidden_layers(text) * each
    if found > MOST_LAYERS:
        raise wrong(f"{each} times its layers", found, f"at most {MOST_LAYERS} are possible")
    return found


def hidden_layers(text: Config) -> int:
    """The decoder's, which a pipeline divides: one of them may keep nothing, or several times. A list says their
    number, too."""
    if text.get("is_encoder_decoder") is True and number(text, "decoder_layers"):  # Whisper's others are its encoder's
        return count_of_layers(text, "decoder_layers")
    if _is_longcat(text):
        return count_of_layers(text, "num_layers")
    found = count_of_layers(text, "num_hidden_layers", "n_layer", "num_layers", "decoder_layers", "n_layers")
    of_all = listed(text, *_LISTS)
    return found or (len(of_all[1]) if of_all else 0)


def _is_longcat(text: Config) -> bool:
    """Whose layers have attention twice (S: vLLM's class)."""
    return str(text.get("model_type")).startswith("longcat_flash") and bool(number(text, "num_layers"))


def rounds(text: Config) -> int:
    """How often the layers are run, each time with a cache of their own: Ouro, and IQuest's LoopCoder (S: vLLM's)."""
    found = count_of_layers(text, "total_ut_steps", "loop_num")
    return found or (2 if text.get("model_type") == "iquestloopcoder" else 1)


_LISTS = ("layer_types", "layers_block_type", "hybrid_override_pattern", "block_configs")


def head_dim(text: Config) -> int:
    """Of keys, where it is said."""
    if text.get("model_type") == "zamba2":  # whose head_dim is that of another part
        return number(text, "attention_head_dim")
    own = number(text, "head_dim", "kv_channels", "attention_head_dim")
    parts = number(text, "qk_nope_head_dim"), number(text, "qk_rope_head_dim")
    return own or (sum(parts) if all(parts) else 0)


def attention(text: Config, layers: int, heads: int, head_dim: int, assumed: list[str]) -> list[Kind]:
    """The layers with attention, by kind."""
    kv_heads = _kv_heads(text, heads)
    value = number(text, "v_head_dim") if not number(text, "kv_lora_rank") else 0
    blocks = listed(text, "block_configs")
    if blocks and isinstance(blocks[1], list):
        return _blocks(blocks[1], heads, head_dim)
    if windows := _windows(text, layers):
        sizes = collections.Counter(windows)
        return [
            Kind(WINDOW if size else FULL, count, kv_heads, head_dim, value, size)
            for size, count in sorted(sizes.items())
        ]
    words = kinds_of_layers(text, layers, assumed)
    shared = number(text, "num_kv_shared_layers")  # the last ones use what earlier ones keep
    words = words[: len(words) - shared] if shared < len(words) else words
    window = number(text, "sliding_window", "sliding_window_size") or _window_of_rounds(text)
    chunk = number(text, "attention_chunk_size")
    counts = {kind: sum(kind in word for word in words) for kind in (FULL, WINDOW, CHUNK)}
    if counts[WINDOW] and not window:
        counts[FULL], counts[WINDOW] = counts[FULL] + counts[WINDOW], 0
        assumed.append("it names windows of unknown size: all its attention is planned as full")
    if counts[CHUNK] and not chunk:
        counts[FULL], counts[CHUNK] = counts[FULL] + counts[CHUNK], 0
        assumed.append("it names chunks of unknown size: all its attention is planned as full")
    full = Kind(FULL, counts[FULL], kv_heads, head_dim, value)
    local = Kind(WINDOW, counts[WINDOW], kv_heads, head_dim, value, window)
    if number(text, "global_head_dim"):  # Gemma 4
        own_heads = number(text, "num_global_key_value_heads") or kv_heads
        full = full._replace(kv_heads=own_heads, head_dim=number(text, "global_head_dim"))
    other = text.get("attention_other_setting")  # Step: of the layers with a window
    if isinstance(other, dict) and other.get("attention_type") == "sliding_attention":
        local = local._replace(
            kv_heads=number(other, "num_attention_groups") or kv_heads, head_dim=number(other, "head_dim") or head_dim
        )
    if number(text, "swa_head_dim", "swa_num_key_value_heads"):  # MiMo
        local = local._replace(
            kv_heads=number(text, "swa_num_key_value_heads") or kv_heads,
            head_dim=number(text, "swa_head_dim") or head_dim,
            value_head_dim=number(text, "swa_v_head_dim") or value,
        )
    found = [full, local, Kind(CHUNK, counts[CHUNK], kv_heads, head_dim, value, chunk)]
    if text.get("is_encoder_decoder") is True:
        found.append(Kind(CROSS, layers, kv_heads, head_dim, value))
    return [kind for kind in found if kind.layers]


def _windows(text: Config, layers: int) -> list[int]:
    """Where windows are listed, that of each layer, 0 for full attention: PLaMo 3, openPangu. A short list repeats."""
    for found in (text.get("interleaved_sliding_window"), text.get("sliding_window")):
        if isinstance(found, list) and found:
            sizes = [number({"a window": size}, "a window") if size else 0 for size in found]
            return [sizes[layer % len(sizes)] for layer in range(layers)]
    every = number(text, "interleaved_sliding_window")
    return [every] * layers if every else []


def _window_of_rounds(text: Config) -> int:
    """LoopCoder's first round sees everything, the others what is near."""
    return (number(text, "loop_window_size") or 64) if text.get("model_type") == "iquestloopcoder" else 0


def _kv_heads(text: Config, heads: int) -> int:
    if text.get("new_decoder_architecture") is True:  # Falcon
        return number(text, "num_kv_heads") or heads
    if text.get("multi_query") is True and not number(text, "num_key_value_heads"):
        return 1
    if text.get("multi_query_attention") is True:
        return number(text, "multi_query_group_num") or 1
    names = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "num_attention_groups", "decoder_attention_heads")
    return number(text, *names) or heads


def _blocks(blocks: t.Sequence[t.Any], heads: int, head_dim: int) -> list[Kind]:
    """Of Nemotron-NAS: each block says how many heads share one of the cache, or that it has none."""
    counts: dict[int, int] = {}
    for block in blocks:
        own = block.get("attention") if isinstance(block, dict) else None
        if not isinstance(own, dict) or own.get("no_op") or own.get("replace_with_linear"):
            continue
        kv_heads = number(own, "num_key_value_heads") or heads // (number(own, "n_heads_in_group") or 1)
        counts[kv_heads] = counts.get(kv_heads, 0) + 1
    return [Kind(FULL, count, kv_heads, head_dim) for kv_heads, count in counts.items()]


def kinds_of_layers(text: Config, layers: int, assumed: list[str]) -> list[tuple[str, ...]]:
    """For each layer, what it has: attention of one kind, a state, both or neither."""
    model_type = text.get("model_type")
    if model_type == "falcon_h1":
        return [(FULL, STATE)] * layers
    if model_type in ("mamba", "mamba2", "falcon_mamba"):
        return [(STATE,)] * layers
    words = listed(text, *_LISTS[:3])
    drafting = number(text, "num_nextn_predict_layers")
    if words and drafting and len(words[1]) == layers + drafting:  # those that draft tokens follow: mtp.py
        words = words[0], words[1][:layers]
    if words and len(words[1]) * rounds(text) == layers:
        words = words[0], [*words[1]] * rounds(text)
    if words:
        return _named(*words, assumed)
    strange = [name for name in _LISTS if text.get(name)]
    assumed.extend(
        f"its {name} is not understood: all {layers} layers are planned as full attention" for name in strange
    )
    return _by_rule(text, layers, assumed)


def _named(name: str, words: t.Sequence[t.Any], assumed: list[str]) -> list[tuple[str, ...]]:
    strange = [word for word in words if not isinstance(word, str)]
    if strange:
        raise wrong(f"in {name}", strange[0], "a name for each layer is possible")
    counts = collections.Counter(word for word in words if word not in _WORDS)
    assumed.extend(
        f"{count} layers of kind {word[:40] if word.isprintable() else ascii(word[:40])} are planned as full attention"
        for word, count in counts.most_common(10)
    )
    return named_kinds(words)


def named_kinds(words: t.Iterable[t.Any]) -> list[tuple[str, ...]]:
    """What layers of these names have; one with a name that is not known, full attention."""
    return [_WORDS.get(word, (FULL,)) if isinstance(word, str) else (FULL,) for word in words]


def indices(found: t.Any) -> set[int]:
    return {index for index in found if isinstance(index, int)} if isinstance(found, list) else set()


def _by_rule(text: Config, layers: int, assumed: list[str]) -> list[tuple[str, ...]]:
    """For a config.json that does not list them."""

    def where(is_full: t.Callable[[int], bool], other: str) -> list[tuple[str, ...]]:
        return [(FULL,) if is_full(layer) else (other,) for layer in range(layers)]

    every = number(text, "full_attention_interval")
    if every and state(text):
        return where(lambda layer: (layer + 1) % every == 0, STATE)
    period = number(text, "attn_layer_period")  # Jamba
    if period:
        return where(lambda layer: layer % period == (text.get("attn_layer_offset") or 0), STATE)
    attending = indices(text.get("attn_layer_indices")) or indices(text.get("full_attn_idxs"))  # Bamba, LFM 2
    if attending:
        return where(lambda layer: layer in attending, STATE)
    linear = text.get("linear_attn_config")  # Kimi Linear counts from 1
    if isinstance(linear, dict) and isinstance(linear.get("full_attn_layers"), list):
        full = indices(linear["full_attn_layers"])
        return where(lambda layer: layer + 1 in full, STATE)
    group = number(text, "layer_group_size")  # Ling and Ring: what is left of the last group is full, too
    if group and state(text):
        whole = layers if _is_ring(text) else layers // group * group
        return where(lambda layer: (layer + 1) % group == 0 or layer >= whole, STATE)
    windowed = indices(text.get("local_layer_ids"))  # Inkling
    if windowed and number(text, "sliding_window_size"):
        assumed.append(f"the state of {layers} layers is not counted")
        return where(lambda layer: layer not in windowed, WINDOW)
    kinds = text.get("attn_type_list")  # MiniMax
    if isinstance(kinds, list) and len(kinds) == layers:
        return where(lambda layer: bool(kinds[layer]), STATE)
    hybrid = text.get("hybrid_layer_pattern")  # MiMo
    if isinstance(hybrid, list) and len(hybrid) == layers:
        return where(lambda layer: not hybrid[layer], WINDOW)
    if windows := _windows(text, layers):
        return where(lambda layer: not windows[layer], WINDOW)
    if _window_of_rounds(text):
        return where(lambda layer: layer < layers // rounds(text), WINDOW)
    ropes = text.get("no_rope_layers")  # Llama 4: what has positions looks at chunks
    if number(text, "attention_chunk_size") and isinstance(ropes, list) and len(ropes) == layers:
        return where(lambda layer: not ropes[layer], CHUNK)
    window, pattern = number(text, "sliding_window"), text.get("sliding_window_pattern")
    if window and isinstance(pattern, str) and pattern:  # EXAONE: LLLG
        return where(lambda layer: pattern[layer % len(pattern)] == "G", WINDOW)
    if window and number(text, "sliding_window_pattern"):
        return where(lambda layer: (layer + 1) % number(text, "sliding_window_pattern") == 0, WINDOW)
    if window and text.get("model_type") in ("gemma2", "cohere2"):
        return where(lambda layer: layer % 2 == 1 if text["model_type"] == "gemma2" else layer % 4 == 3, WINDOW)
    if window and text.get(_WINDOW_SWITCH) is not False and not text.get("compress_ratios"):
        if text.get("model_type") in _ONLY_WINDOWS:
            return [(WINDOW,)] * layers
        assumed.append(f"its window of {window} tokens is planned as full attention")
    return [(FULL,)] * layers


def state(text: Config) -> State | None:
    """The state of a layer without attention, by family; None if nothing is known of it."""
    model_type = str(text.get("model_type"))
    wanted = text.get("mamba_ssm_cache_dtype") or text.get("mamba_ssm_dtype")
    width = 4 if wanted == "float32" or (not wanted and model_type in _FLOAT_STATES) else 2
    return _delta_net(text, width) or _kimi(text) or _mamba(text, width) or _convolution(text) or _lightning(text)


def _delta_net(text: Config, width: int) -> State | None:
    """A gated delta net: the last inputs of a convolution, and a matrix for each head."""
    keys, values = number(text, "linear_num_key_heads"), number(text, "linear_num_value_heads")
    key_dim, value_dim = number(text, "linear_key_head_dim"), number(text, "linear_value_head_dim")
    kernel = number(text, "linear_conv_kernel_dim")
    if not (keys and values and key_dim and value_dim and kernel):
        return None
    return State(2 * keys * key_dim + values * value_dim, kernel, values * value_dim * key_dim, width)


def _kimi(text: Config) -> State | None:
    """Kimi's delta attention, as its own files write it, or transformers 5."""
    linear = text.get("linear_attn_config")
    linear = linear if isinstance(linear, dict) else {}
    heads = number(linear, "num_heads") or number(text, "linear_num_heads")
    dim = number(linear, "head_dim") or number(text, "linear_head_dim")
    kernel = number(linear, "short_conv_kernel_size") or number(text, "linear_conv_kernel_dim") or 4
    return State(3 * heads * dim, kernel, heads * dim * dim, 4) if heads and dim else None


def _mamba(text: Config, width: int) -> State | None:
    model_type = text.get("model_type")
    size = number(text, "ssm_state_size", "mamba_d_state", "state_size")
    kernel = number(text, "conv_kernel", "mamba_d_conv")
    heads = number(text, "mamba_num_heads", "mamba_n_heads", "n_mamba_heads")
    head_dim = number(text, "mamba_head_dim", "mamba_d_head", "mamba_headdim")
    if model_type == "mamba2":
        heads, head_dim = number(text, "num_heads"), number(text, "head_dim")
    hidden, expand = number(text, "hidden_size", "d_model"), number(text, "mamba_expand", "expand") or 2
    if not size or not kernel:
        return None
    if not heads:  # the first Mamba
        inner = number(text, "intermediate_size") if model_type in ("mamba", "falcon_mamba") else expand * hidden
        return State(inner, kernel, inner * size, width) if inner else None
    inner = heads * head_dim if head_dim else expand * hidden
    groups = number(text, "n_groups", "mamba_n_groups", "mamba_ngroups") or 1
    chunk = number(text, "chunk_size", "mamba_chunk_size") if model_type in _SECOND_MAMBA else 0
    return State(inner + 2 * groups * size, kernel, inner * size, width, chunk)


def _convolution(text: Config) -> State | None:
    """LFM 2: a short convolution, and no matrix."""
    length = number(text, "conv_L_cache")
    return State(number(text, "hidden_size", "conv_dim"), length, 0, 2) if length else None


def _lightning(text: Config) -> State | None:
    """Linear attention of MiniMax and of Ring: a matrix for each head. Of Ling 3 it is Kimi's delta attention."""
    is_minimax, is_ling = "minimax" in str(text.get("model_type")), number(text, "layer_group_size") > 1
    if not (is_minimax or is_ling):
        return None
    heads = number(text, "num_attention_heads")
    head_dim = number(text, "head_dim") or number(text, "hidden_size") // max(heads, 1)
    if is_ling and not _is_ring(text):
        return State(3 * heads * head_dim, number(text, "short_conv_kernel_size"), heads * head_dim * head_dim, 4)
    return State(0, 1, heads * head_dim * head_dim, 4 if is_minimax else 2)


def _is_ring(text: Config) -> bool:
    return not number(text, "short_conv_kernel_size")
