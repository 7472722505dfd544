# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What attention that looks at chosen tokens only keeps beside its cache, read from a config.json. Pure."""

from __future__ import annotations

import typing as t

from .._outside.values import sequence
from .config_values import Config, listed, number

# Kinds of it that are not understood.
_UNREAD = ("sparse_attention_config", "index_topk", "compress_ratios")
# DeepSeek V4: tokens of which one vector is kept; 0 and 1 mean that a layer has its window only.
_RATIOS, _NONE = (4, 128), (0, 1)
_SHARED = (1, 2)  # DeepSeek V4.1: the same, in the few layers from which others take it


def fields(text: Config, layers: int, attention: int, assumed: list[str]) -> dict[str, t.Any]:
    """The fields of an entry for it. ATTENTION is the number of layers that have some."""
    unread = {name for name in _UNREAD if text.get(name)}
    found: dict[str, t.Any] = {}
    dim = number(text, "index_head_dim")
    ratios = _ratios(text)
    if len(ratios) >= layers and set(map(str, ratios)) <= set(map(str, (*_RATIOS, *_NONE))):
        own = ratios[:layers]
        if dim and number(text, "sliding_window") and any(ratio in _RATIOS for ratio in own):
            found = {"index_dim": dim, "compressed": {ratio: own.count(ratio) for ratio in _RATIOS if ratio in own}}
            found["sliding_window"] = number(text, "sliding_window")
            unread -= {"index_topk", "compress_ratios"}
    elif dim and number(text, "sliding_window") and (sources := _sources(text, ratios, layers)):
        found = {"index_dim": dim, "compressed": {ratio: sources.count(ratio) for ratio in _SHARED if ratio in sources}}
        found["sliding_window"] = number(text, "sliding_window")
        unread -= {"index_topk", "compress_ratios"}
    elif dim and number(text, "kv_lora_rank") and number(text, "index_topk"):
        chosen = sum(_chooses(text, layer) for layer in range(layers))
        # a key for each of these tokens, if not for each
        dim = -(-dim // (number(text, "index_kpool") or 1))
        found = {"index_dim": dim, **({"index_layers": chosen} if chosen != layers == attention else {})}
        unread -= {"index_topk"}
    elif number(text, "indexer_head_dim") and number(text, "indexer_compress_ratio"):  # Qwen 4: beside keys and values
        found = {"index_dim": -(-number(text, "indexer_head_dim") // number(text, "indexer_compress_ratio"))}
    assumed.extend(f"its {name} is not understood" for name in _UNREAD if name in unread)
    return found


def _ratios(text: Config) -> list[t.Any]:
    """For each layer, as its own files write it, or by kinds as transformers 5 does."""
    ratios, words, rates = text.get("compress_ratios"), listed(text, "layer_types"), text.get("compress_rates")
    if isinstance(ratios, list):
        return ratios
    if words and isinstance(rates, dict):
        return [rates.get(word, 0) if isinstance(word, str) else word for word in words[1]]
    return []


def _sources(text: Config, ratios: t.Sequence[t.Any], layers: int) -> list[t.Any]:
    """The ratios of layers that keep what others read, too; none if that is not understood."""
    named = sequence(text.get("kv_source_layer_ids"))
    if not all(isinstance(layer, int) and 0 <= layer < min(layers, len(ratios)) for layer in named):
        return []
    found = [ratios[layer] for layer in named]
    return found if all(isinstance(ratio, int) and ratio in _SHARED for ratio in found) else []


def _chooses(text: Config, layer: int) -> bool:
    """Whether a layer chooses tokens itself, and keeps keys for it; others take the choice of an earlier layer."""
    pattern = text.get("index_topk_pattern")
    if isinstance(pattern, (str, list)) and layer < len(pattern):
        return pattern[layer] != "S"
    offset = number(text, "index_skip_topk_offset") or 2
    return max(layer - offset + 1, 0) % (number(text, "index_topk_freq") or 1) == 0
