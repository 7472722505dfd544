# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KV cache of DeepSeek V4 and V4.1, which keep one vector for several tokens. Pure; the rules are vLLM 0.32's.

Every layer has a window of whole vectors. Most also keep one vector for 4 or for 128 tokens, and the state of the
program that makes it, which is a window of some tokens. Groups of layers have pages of different sizes, and a block is
as large as the largest group.

V4.1 keeps one vector for a token or two in a few layers, and the others read it there: all of these are one group, and
as many windows as fit into its block are another one. What makes a vector of two tokens is one block of a request.
"""

from __future__ import annotations

import typing as t

from .._catalog.vllm_options import whole
from .kv_cache import FULL, STATE, WINDOW, Group, Layers, Pool
from .stages import Stage

BLOCK, WINDOW_BLOCK = 256, 64  # tokens
STATE_BLOCKS = {4: 4, 128: 8}  # tokens of a block with states, by how many tokens become one vector
SIDES = {4: 2, 128: 1}  # spans of tokens that a vector is made of
ALIGNED = 576  # bytes: pages are multiples of it
IN_BF16, SCALES = 64, 8  # numbers of a vector with positions, which stay BF16; bytes of scales
FLOAT = 4
SHARED = (1, 2)  # V4.1: tokens of a vector that other layers read, too
STRIDE = 4608  # bytes: a block of V4.1 is a multiple of it
RING = 8  # tokens that a layer keeps to make a vector of two


class Shape(t.NamedTuple):
    layers: int
    window: int
    head_dim: int
    index_dim: int
    ratios: t.Mapping[int, int]  # layers by how many tokens become one vector


class _Bucket(t.NamedTuple):
    """Layers that need the same blocks; each repeats these pages."""

    kind: str
    layers: int
    pages: tuple[int, ...]
    block: int
    tokens: int = 0


def shape(entry: t.Mapping[str, t.Any], drafting_layers: int, stage: Stage) -> Shape | None:
    """Of what an entry says, {4: 21, 128: 20}; None if it is another model. The last of several stages drafts, too."""
    ratios = entry.get("compressed")
    found = {str(ratio): count for ratio, count in ratios.items()} if isinstance(ratios, t.Mapping) else {}
    counts = {ratio: whole(found.get(str(ratio))) or 0 for ratio in (*STATE_BLOCKS, *SHARED)}
    own = {ratio: stage.of(count) for ratio, count in counts.items() if count}
    if not own:
        return None
    layers, window, head_dim, index_dim = (
        whole(entry.get(name)) or 1 for name in ("layers", "sliding_window", "head_dim", "index_dim")
    )
    return Shape(stage.of(layers) + (drafting_layers if stage.is_last else 0), window, head_dim, index_dim, own)


def kinds(shape: Shape) -> list[Layers]:
    """What a token costs, to the byte, in layers of each kind."""
    found = [
        Layers(FULL, count, -(-sum(_vectors(shape, ratio)) // BLOCK), latent=True)
        for ratio, count in shape.ratios.items()
    ]
    return [*found, Layers(WINDOW, shape.layers, _row(shape), shape.window, latent=True)]


def pool(shape: Shape, in_flight: int) -> Pool:
    if set(shape.ratios) <= set(SHARED):
        return _shared_pool(shape, in_flight)
    buckets = _buckets(shape)
    repeats = _repeats(buckets)
    groups, widest = [], 0
    for bucket in buckets:
        number = -(-bucket.layers // repeats) if repeats and bucket.kind == WINDOW else 1
        groups.append(Group(bucket.kind, number, bucket.block, bucket.tokens))
        widest = max(widest, -(-bucket.layers // number) * sum(bucket.pages))
    widest = max(widest, sum(count * sum(_vectors(shape, ratio)) for ratio, count in shape.ratios.items()))
    return Pool(min(group.block for group in groups), widest, (*groups, Group(FULL, 1, BLOCK, 0)), in_flight, 1)


def _shared_pool(shape: Shape, in_flight: int) -> Pool:
    size = sum(count * sum(_vectors(shape, ratio)) for ratio, count in shape.ratios.items())
    size = -(-size // STRIDE) * STRIDE
    windows = -(-shape.layers // max(size // _page(WINDOW_BLOCK * _row(shape)), 1))
    groups = [Group(WINDOW, windows, WINDOW_BLOCK, shape.window), Group(FULL, 1, BLOCK, 0)]
    if 2 in shape.ratios:
        groups.append(Group(STATE, 1, RING, 0))
    return Pool(min(group.block for group in groups), size, tuple(groups), in_flight, 1)


def _row(shape: Shape) -> int:
    """A vector: FP8 but for its positions."""
    return shape.head_dim + IN_BF16 + SCALES


def _page(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _vectors(shape: Shape, ratio: int) -> list[int]:
    """Pages of BLOCK tokens in one layer: of the vectors, and of the keys that choose among many of them."""
    found = [_page(BLOCK // ratio * _row(shape))]
    return [*found, _page(BLOCK // ratio * (shape.index_dim + 4))] if ratio in (*SHARED, min(STATE_BLOCKS)) else found


def _buckets(shape: Shape) -> list[_Bucket]:
    found = [_Bucket(WINDOW, shape.layers, (_page(WINDOW_BLOCK * _row(shape)),), WINDOW_BLOCK, shape.window)]
    for ratio, count in shape.ratios.items():
        block, sides = STATE_BLOCKS[ratio], SIDES[ratio]
        widths = [shape.head_dim, shape.index_dim] if ratio == min(STATE_BLOCKS) else [shape.head_dim]
        pages = tuple(_page(block * 2 * sides * width * FLOAT) for width in widths)
        found.append(_Bucket(WINDOW, count, pages, block, sides * ratio))
    return found


def _repeats(buckets: t.Sequence[_Bucket]) -> int:
    """Layers in a group: what pads the least. Pages of several sizes stay together."""
    least = max((bucket.layers for bucket in buckets if len(bucket.pages) > 1), default=0)
    if not least:
        return 0
    most = max(least, *(bucket.layers for bucket in buckets))
    return min(range(least, most + 1), key=lambda size: (sum(-bucket.layers % size for bucket in buckets), -size))
