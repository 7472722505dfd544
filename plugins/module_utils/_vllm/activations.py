# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model needs for each token of a batch while it computes, from the shapes in its config.json. Pure.

vLLM measures a full batch before it sizes the KV cache. The peak is the widest layer: its input, and what it writes
until it is done. Each figure is in bytes for a token, in BF16.
"""

from __future__ import annotations

from .config_values import Config, number, whole
from .layer_kinds import State

WIDTH = 2  # bytes of a number in BF16
# Layers with a state write out projections, convolution, the states of each chunk and their products: numbers for each
# channel of the convolution. C: from the tensors of vLLM 0.24's kernels; the first agrees with a published log.
_DELTA_NET, _MAMBA = 10, 5


def of_a_token(text: Config, state: State | None = None) -> int:
    """The widest layer, with what goes in and comes out of it."""
    hidden = number(text, "hidden_size", "n_embd", "d_model", "dim")
    inputs = 2 * hidden * WIDTH
    return inputs + max(_dense(text), _experts(text, hidden), _attention(text), _state(text, state)) if hidden else 0


def _dense(text: Config) -> int:
    """Gate and up projection, their product, and the same in FP8."""
    name = next((name for name in ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim") if text.get(name)), "")
    widths = text[name] if name and isinstance(text[name], list) else [text.get(name)]
    inner = max((whole(name, width) for width in widths), default=0)
    inner = inner or 4 * number(text, "hidden_size", "n_embd", "d_model", "dim")
    return inner * (3 * WIDTH + 1)


def _experts(text: Config, hidden: int) -> int:
    """A token's experts each have their own copy of input and product: two workspaces as wide as the wider of them."""
    chosen = number(text, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts", "moe_top_k")
    experts, inner = experts_and_width(text)
    if not (chosen and experts):
        return 0
    own = number(text, "moe_latent_size") or hidden  # experts may work in a narrower space
    shared = number(text, "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size")
    shared = shared or inner * number(text, "n_shared_experts", "num_shared_experts")
    workspaces = (max(inner, own) + max(2 * inner, own)) * WIDTH + inner
    return chosen * workspaces + hidden * WIDTH + shared * WIDTH + experts * 4


def experts_and_width(text: Config) -> tuple[int, int]:
    """How many experts a layer has, and the inner width of one."""
    experts = number(text, "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    inner = number(text, "moe_intermediate_size", "expert_ffn_hidden_size", "ffn_hidden_size_moe")
    return experts, inner or number(text, "intermediate_size")


def _attention(text: Config) -> int:
    heads = number(text, "num_attention_heads", "n_head")
    head_dim = max(number(text, "head_dim"), number(text, "global_head_dim"))
    head_dim = head_dim or number(text, "hidden_size", "n_embd") // max(heads, 1)
    return heads * head_dim * 2 * 2 * WIDTH


def _state(text: Config, state: State | None) -> int:
    if state is None or not state.matrix:
        return 0
    is_delta_net = number(text, "linear_num_value_heads", "linear_num_heads") or isinstance(
        text.get("linear_attn_config"), dict
    )
    return state.channels * WIDTH * (_DELTA_NET if is_delta_net else _MAMBA)


def of_vision(config: Config) -> int:
    """What pictures need for each token of a batch: vLLM measures its encoder with as many as fill one."""
    vision = config.get("vision_config")
    if not isinstance(vision, dict):
        thinker = config.get("thinker_config")
        vision = thinker.get("vision_config") if isinstance(thinker, dict) else None
    if not isinstance(vision, dict):
        return 0
    hidden = number(vision, "hidden_size", "embed_dim")
    inner = number(vision, "intermediate_size") or 4 * hidden
    patches = _patches_of_a_token(config, vision)
    return patches * (3 * hidden + 2 * inner) * WIDTH


def _patches_of_a_token(config: Config, vision: Config) -> int:
    """Patches that are merged into one token of the language model."""
    side = number(vision, "spatial_merge_size", "pooling_kernel_size") or number(config, "spatial_merge_size")
    ratio = config.get("downsample_ratio", vision.get("pixel_shuffle_ratio"))
    if not side and isinstance(ratio, float) and 0.01 < ratio < 1:
        side = round(1 / ratio)
    if not side and "gemma" in str(config.get("model_type")):
        side = 3 if "gemma4" in str(config.get("model_type")) else 4
    return (side or 2) ** 2
