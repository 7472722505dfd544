# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What attention that looks at chosen tokens only keeps beside its cache, read from a config.json. Pure."""

from __future__ import annotations

import typing as t

from .config_values import Config, listed, number

# Kinds of it that are not understood.
_UNREAD = ("sparse_attention_config", "index_topk", "compress_ratios")
# DeepSeek V4: tokens of which one vector is kept; 0 and 1 mean that a layer has its window only.
_RATIOS, _NONE = (4, 128), (0, 1)


def fields(text: Config, layers: int, assumed: list[str]) -> dict[str, t.Any]:
    """The fields of an entry for it."""
    unread = {name for name in _UNREAD if text.get(name)}
    found: dict[str, t.Any] = {}
    dim = number(text, "index_head_dim")
    ratios = listed(text, "compress_ratios")
    if ratios and isinstance(ratios[1], list) and set(map(str, ratios[1])) <= set(map(str, (*_RATIOS, *_NONE))):
        own = ratios[1][:layers]
        if dim and number(text, "sliding_window") and any(ratio in _RATIOS for ratio in own):
            found = {"index_dim": dim, "compressed": {ratio: own.count(ratio) for ratio in _RATIOS if ratio in own}}
            found["sliding_window"] = number(text, "sliding_window")
            unread -= {"index_topk", "compress_ratios"}
    elif dim and number(text, "kv_lora_rank") and number(text, "index_topk"):
        chosen = sum(_chooses(text, layer) for layer in range(layers))
        found = {"index_dim": dim, **({"index_layers": chosen} if chosen != layers else {})}
        unread -= {"index_topk"}
    assumed.extend(f"its {name} is not understood" for name in _UNREAD if name in unread)
    return found


def _chooses(text: Config, layer: int) -> bool:
    """Whether a layer chooses tokens itself, and keeps keys for it; others take the choice of an earlier layer."""
    pattern = text.get("index_topk_pattern")
    if isinstance(pattern, (str, list)) and layer < len(pattern):
        return pattern[layer] != "S"
    offset = number(text, "index_skip_topk_offset") or 2
    return max(layer - offset + 1, 0) % (number(text, "index_topk_freq") or 1) == 0
