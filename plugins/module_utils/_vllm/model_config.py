# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a model's config.json to an entry as the catalog has them. Pure."""

from __future__ import annotations

import typing as t

Config = t.Mapping[str, t.Any]
Entry = dict[str, t.Any]

# Families whose config.json names a window that vLLM does not use unless this says so.
_WINDOW_SWITCH = "use_sliding_window"
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
# Where families say which of their layers have no attention, and that is not understood here.
_UNREAD_KINDS = ("layers_block_type", "attn_layer_period", "attn_layer_indices", "block_configs")


class ConfigError(ValueError):
    """One line that says what a config.json lacks."""


def entry_of(config: Config, weights_bytes: int) -> tuple[Entry, list[str]]:
    """The fields that the memory plan needs, and what had to be assumed."""
    text = _text_part(config)
    text = {**_DEFAULTS.get(str(text.get("model_type")), {}), **text}
    assumed: list[str] = []
    layers, heads = _number(text, "num_hidden_layers", "n_layer"), _number(text, "num_attention_heads", "n_head")
    hidden = _number(text, "hidden_size", "n_embd")
    context = _number(text, "max_position_embeddings", "n_positions", "max_sequence_length")
    for name, value in (("num_hidden_layers", layers), ("num_attention_heads", heads)):
        if not value:
            raise ConfigError(f"its config.json has no {name}")
    head_dim = _number(text, "head_dim") or (hidden // heads if hidden else 0)
    if not head_dim:
        raise ConfigError("its config.json has neither head_dim nor hidden_size")
    entry: Entry = {
        "weights_bytes": weights_bytes,
        "layers": layers,
        "kv_heads": _number(text, "num_key_value_heads") or heads,
        "head_dim": head_dim,
    }
    if context:
        entry["native_context"], entry["config_context"] = context, _limit(config, text, context)
    else:  # left to what transformers knows of the family
        assumed.append("its config.json has no max_position_embeddings: the wanted context is taken for allowed")
    if _number(text, "kv_lora_rank"):
        entry["latent_dim"] = _number(text, "kv_lora_rank") + _number(text, "qk_rope_head_dim")
    _kinds(text, entry, assumed)
    _cache_type(config, entry, assumed)
    return entry, assumed


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
        kind, factor = scaling.get("rope_type") or scaling.get("type") or "default", scaling.get("factor")
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            continue
        if kind == "yarn":
            limit = max(limit, _number(scaling, "original_max_position_embeddings") * factor)
        elif kind not in _NO_FACTOR:
            limit = context * factor
    return int(limit)


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
        assumed.append(f"the KV cache that its checkpoint asks for ({wanted}) is planned as BF16")


def _text_part(config: Config) -> Config:
    """Models that see or hear keep their language model in a part of its own."""
    for name in ("text_config", "llm_config", "language_config"):
        part = config.get(name)
        if isinstance(part, dict) and part.get("num_hidden_layers"):
            return part
    return config


def _number(config: Config, *names: str) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def _kinds(text: Config, entry: Entry, assumed: list[str]) -> None:
    """Which layers look at the whole context, which at a window, and which keep a state instead."""
    window = _number(text, "sliding_window")
    kinds = text.get("layer_types")
    if not isinstance(kinds, list) or not kinds:
        kinds = _kinds_by_rule(text, entry["layers"], assumed)
    counts = {kind: kinds.count(kind) for kind in kinds}
    full = counts.pop("full_attention", 0) + counts.pop("attention", 0)
    sliding = counts.pop("sliding_attention", 0)
    if sliding and not window:
        full, sliding = full + sliding, 0
        assumed.append("it names windows of unknown size: all its attention is planned as full")
    stateful = counts.pop("linear_attention", 0)
    counts.pop("none", 0)
    if stateful:
        size = _delta_state_bytes(text)
        if size:
            entry["state_layers"], entry["state_bytes"] = stateful, size
        else:
            assumed.append(f"the state of {stateful} linear layers is not counted")
    for kind, count in counts.items():
        full += count
        assumed.append(f"{count} layers of kind {kind} are planned as full attention")
    entry["layers"] = full + sliding
    if not entry["layers"]:
        raise ConfigError("its config.json names no layer with attention, and nothing can be planned for it")
    if sliding:
        entry["sliding_window"], entry["full_attention_layers"] = window, full


def _kinds_by_rule(text: Config, layers: int, assumed: list[str]) -> list[str]:
    """For a config.json without layer_types."""
    hybrid = text.get("hybrid_override_pattern")  # of Nemotron-H, a character a layer
    if isinstance(hybrid, str) and hybrid:
        if "M" in hybrid:
            assumed.append(f"the state of {hybrid.count('M')} Mamba layers is not counted")
        return ["full_attention" if layer == "*" else "none" for layer in hybrid]
    for name in _UNREAD_KINDS:
        if text.get(name):
            assumed.append(f"its {name} is not understood: all {layers} layers are planned as full attention")
    every = _number(text, "full_attention_interval")
    if every and _delta_state_bytes(text):
        return ["full_attention" if (layer + 1) % every == 0 else "linear_attention" for layer in range(layers)]
    window, pattern = _number(text, "sliding_window"), _number(text, "sliding_window_pattern")
    if window and pattern:
        return ["full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(layers)]
    if window and text.get(_WINDOW_SWITCH) is not False:
        if text.get("model_type") in ("mistral", "mixtral", "phi3", "starcoder2"):
            return ["sliding_attention"] * layers
        assumed.append(f"its window of {window} tokens is planned as full attention")
    return ["full_attention"] * layers


def _delta_state_bytes(text: Config) -> int:
    """What one request keeps in one gated delta net: the last inputs of a convolution, and a matrix for each head."""
    keys, values = _number(text, "linear_num_key_heads"), _number(text, "linear_num_value_heads")
    key_dim, value_dim = _number(text, "linear_key_head_dim"), _number(text, "linear_value_head_dim")
    kernel = _number(text, "linear_conv_kernel_dim")
    if not (keys and values and key_dim and value_dim and kernel):
        return 0
    inputs = (2 * keys * key_dim + values * value_dim) * (kernel - 1)
    matrix = values * value_dim * key_dim
    return 2 * inputs + (4 if text.get("mamba_ssm_dtype") == "float32" else 2) * matrix
