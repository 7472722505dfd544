# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a model's config.json to an entry as the catalog has them. Pure."""

from __future__ import annotations

import re
import typing as t

from .._outside.text import plain
from .._outside.values import mapping, sequence
from . import activations, layer_kinds, mtp, sparse
from .config_values import Config, ConfigError, check_depth, factor, number
from .layer_kinds import FULL, STATE, WINDOW, Kind

Entry = dict[str, t.Any]

# What a family's config.json may leave out, because transformers knows it (S: its Gemma3TextConfig).
_DEFAULTS: t.Mapping[str, Config] = {
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
    }
}
# Types of stretched positions whose factor is no part of vLLM's limit: max_position_embeddings has it already.
_NO_FACTOR = ("default", "mrope", "su", "longrope", "llama3", "deepseek_yarn", "deepseek_llama_scaling")
# Architectures of draft models (S: vLLM's _SPECULATIVE_DECODING_MODELS, and the names that checkpoints bear).
_DRAFTS = re.compile(
    r"(MTP|MTPModel|(Draft|DSpark|Assistant|Medusa)(Model|ForCausalLM)|ForCausalLMEagle3|Speculator)$"
    r"|^(Eagle3?|Peagle|DFlash)[A-Z]\w*(Model|ForCausalLM)$"
)
# Parts in which models that see or hear keep their language model.
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "language_model")


def entry_of(config: Config, weights_bytes: int) -> tuple[Entry, list[str]]:
    """The fields that the memory plan needs, and what had to be assumed."""
    check_depth(config)
    text = _text_part(config)
    text = {**_DEFAULTS.get(str(text.get("model_type")), {}), **text}
    assumed: list[str] = []
    named = sequence(config.get("architectures"))[:20]
    architectures = [plain(name)[:200] for name in named if isinstance(name, str)]
    if architectures and all(_DRAFTS.search(name) for name in architectures):
        raise ConfigError(
            f"{architectures[0][:40]} is a draft model, which speeds up another one: serve {_verifier(config)}, and"
            " name this in speculative_config of vllm_extra_args"
        )
    layers, heads = layer_kinds.number_of_layers(text), number(text, "num_attention_heads", "n_head", "n_heads")
    heads = heads or number(text, "decoder_attention_heads")
    hidden = number(text, "hidden_size", "n_embd", "d_model", "dim")
    context = number(text, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len")
    context = context or number(text, "max_target_positions") or _model_max_length(text)
    if not layers:
        raise ConfigError("its config.json has no num_hidden_layers")
    words = layer_kinds.kinds_of_layers(text, layers, [])
    only_states = bool(words) and all(word == (STATE,) for word in words)
    if only_states and not layer_kinds.state(text):
        raise ConfigError("its config.json names no layer with attention, and nothing can be planned for it")
    if not heads and not only_states:
        raise ConfigError("its config.json has no num_attention_heads")
    head_dim = layer_kinds.head_dim(text) or (hidden // heads if heads else 0)
    if not head_dim and not only_states:
        raise ConfigError("its config.json has neither head_dim nor hidden_size")
    entry: Entry = {"weights_bytes": weights_bytes, "hidden_layers": layer_kinds.hidden_layers(text)}
    if architectures:
        entry["architectures"] = architectures
    kinds = [] if only_states else layer_kinds.attention(text, layers, heads, head_dim, assumed)
    if layer_kinds.keeps_nothing(config, text):
        kinds = []
    main = next(iter(kinds), Kind(FULL, layers, heads or 1, head_dim or 1))
    entry.update(layers=sum(k.layers for k in kinds) or layers, kv_heads=main.kv_heads, head_dim=main.head_dim)
    if context:
        entry["native_context"], entry["config_context"] = context, _limit(config, text, context)
    else:  # left to what transformers knows of the family
        assumed.append("its config.json has no max_position_embeddings: the wanted context is taken for allowed")
    if layer_kinds.has_latent_cache(text):
        entry["latent_dim"] = number(text, "kv_lora_rank") + number(text, "qk_rope_head_dim")
    _attention(entry, kinds)
    if not layer_kinds.keeps_nothing(config, text):
        _states(entry, text, words, assumed)
    entry.update(sparse.fields(text, layers, entry["layers"], assumed))
    _computing(entry, config, text)
    entry.update(mtp.fields(config, text, layers, kinds))
    _cache_type(config, entry, assumed)
    return entry, assumed


def _attention(entry: Entry, kinds: t.Sequence[Kind]) -> None:
    """Full attention, or full and windows with the same heads, in plain fields; all else as a list."""
    full = next((kind for kind in kinds if kind.kind == FULL), None)
    window = next((kind for kind in kinds if kind.kind == WINDOW), None)
    same = len({kind[2:5] for kind in kinds}) <= 1 and not any(kind.value_head_dim for kind in kinds)
    each = {kind.kind for kind in kinds}
    if kinds and same and each <= {FULL, WINDOW} and len(each) == len(kinds):
        if window:
            entry["sliding_window"], entry["full_attention_layers"] = window.tokens, full.layers if full else 0
    else:
        entry["attention_kinds"] = [kind.fields() for kind in kinds]


def _states(entry: Entry, text: Config, words: t.Sequence[tuple[str, ...]], assumed: list[str]) -> None:
    stateful = sum(STATE in word for word in words)
    if not stateful:
        return
    found = layer_kinds.state(text)
    if found is None:
        assumed.append(f"the state of {stateful} layers is not counted")
        return
    entry["state_layers"], entry["state_bytes"] = stateful, found.bytes_
    if found.matrix:
        entry["state_matrix"], entry["state_width"] = found.matrix, found.width
    if found.channels:
        entry["state_channels"] = found.channels
    if found.chunk:
        entry["state_chunk"] = found.chunk


def _computing(entry: Entry, config: Config, text: Config) -> None:
    """What computing needs beside weights and cache, and what quantizing at the start leaves as it is."""
    vocabulary, hidden = (
        number(text, "vocab_size", "padded_vocab_size"),
        number(text, "hidden_size", "n_embd", "d_model", "dim"),
    )
    sizes = {
        "activation_bytes": activations.of_a_token(text, layer_kinds.state(text)),
        "vision_bytes": activations.of_vision(config),
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "embedding_bytes": 2 * vocabulary * hidden * (1 if _is_tied(config, text) else 2),
        "attention_heads": number(text, "num_attention_heads", "n_head", "n_heads"),
        "dspark_layers": _dspark_layers(text),
    }
    entry.update({name: size for name, size in sizes.items() if size})
    quantization = config.get("quantization_config") or text.get("quantization_config")
    if _is_of_mlx(config, quantization):
        entry["quantization"] = "mlx"
    elif isinstance(quantization, dict):
        method = quantization.get("quant_method") or ("modelopt" if "quantization" in quantization else "")
        entry["quantization"] = method[:40] if isinstance(method, str) and method else "unknown"
        experts, width = activations.experts_and_width(text) if method == "mxfp4" else (0, 0)
        if experts and width:
            entry["experts"], entry["expert_size"] = experts, width


def _dspark_layers(text: Config) -> int:
    """DeepSeek V4's own layers that draft several tokens at once. Three, where nothing is said, as vLLM has it (S)."""
    return (number(text, "n_mtp_layers") or 3) if text.get("dspark_target_layer_ids") else 0


def _verifier(config: Config) -> str:
    """The model that a draft is made for, which those of the library speculators name."""
    found = mapping(mapping(config.get("speculators_config")).get("verifier")).get("name_or_path")
    return found if isinstance(found, str) and re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", found) else "that one"


def _is_of_mlx(config: Config, read: t.Any) -> bool:
    """Its quantizer writes bits and group_size, and names no method, neither there nor in READ, which vLLM reads."""
    found = mapping(config.get("quantization"))
    return "group_size" in found and "bits" in found and not mapping(read).get("quant_method")


def _is_tied(config: Config, text: Config) -> bool:
    found = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return found is not False


def _limit(config: Config, text: Config, context: int) -> int:
    """The longest context that vLLM allows. With YaRN older versions take the original length times the factor."""
    found = text.get("rope_parameters") or text.get("rope_scaling")
    scalings = [found] if isinstance(found, dict) else []
    if scalings and any(isinstance(value, dict) for value in scalings[0].values()):  # one for each kind of layers
        scalings = [value for value in scalings[0].values() if isinstance(value, dict)]
    if "gemma3" in f"{config.get('model_type')} {text.get('model_type')}":  # whose length is the stretched one
        scalings = []
    limit = float(context)
    for scaling in scalings:
        kind, times = scaling.get("rope_type") or scaling.get("type") or "default", scaling.get("factor")
        if kind in _NO_FACTOR:
            continue
        times = factor("the factor of its positions", times)
        if times is not None and kind == "yarn":
            limit = max(limit, number(scaling, "original_max_position_embeddings") * times)
        elif times is not None:
            limit = context * times
    return int(limit)


def _model_max_length(text: Config) -> int:
    """Where tokenizers write 10^30 if they have no limit."""
    found = text.get("model_max_length")
    return number(text, "model_max_length") if isinstance(found, int) and found < 10**12 else 0


def _cache_type(config: Config, entry: Entry, assumed: list[str]) -> None:
    """The KV cache that a quantized checkpoint asks for, as vLLM 0.32 reads it (S)."""
    found = config.get("quantization_config")
    quantization = found if isinstance(found, dict) else {}
    inner = quantization.get("quantization")
    # hf_quant_config.json, which is ModelOpt's, does not name its method
    method = str(quantization.get("quant_method") or ("modelopt" if isinstance(inner, dict) else ""))
    wanted: t.Any = None
    for part in (inner if isinstance(inner, dict) else quantization, quantization):
        wanted = wanted or part.get("kv_cache_scheme") or part.get("kv_cache_quant_algo")
    if isinstance(wanted, dict):
        fixed = wanted.get("dynamic") is False or method == "compressed-tensors"
        eight = (wanted.get("type"), wanted.get("num_bits")) == ("float", 8)
        wanted = "fp8" if fixed and eight else "of an unknown kind"
    followed = method.startswith("modelopt") or method == "compressed-tensors"
    if followed and isinstance(wanted, str) and wanted.lower() == "fp8":
        entry["kv_cache_dtype"] = "fp8"
    elif wanted:
        assumed.append(f"the KV cache that its checkpoint asks for ({str(wanted)[:40]}) is planned as BF16")


def _text_part(config: Config) -> Config:
    """Models that see or hear keep their language model in a part of its own, which may be in another one."""
    for name in _TEXT_PARTS:
        part = config.get(name)
        if isinstance(part, dict):
            inner = _text_part(part)
            if layer_kinds.number_of_layers(inner):
                return {**{key: value for key, value in config.items() if key in _OUTER and key not in inner}, **inner}
    return config


# What the outer part may say of the language model.
_OUTER = ("tie_word_embeddings", "quantization_config")
