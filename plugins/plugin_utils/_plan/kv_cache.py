# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How vLLM divides a KV cache into blocks, and how many tokens that is. Pure; the rules are those of vLLM 0.32.

A layer keeps a page for each block of tokens. Layers that need the same blocks stand in one group; all groups draw from
one pool, whose blocks are as large as the pages of one group. A model of one kind of layers has one group. Where kinds
are mixed, all pages are made equally large, and groups are of one size, that of the rarest kind, so that every block
fits every group.
"""

from __future__ import annotations

import typing as t

# CUDA's and the CPU build's default block, in tokens. The CPU build wants 16 for a latent cache (without AMX).
BLOCK, CPU_BLOCK = 16, 128
# A kind of layers less than that much more frequent than the rarest one is padded to one group.
NEARLY_EQUAL = 1.5
# Blocks of a latent cache beside layers that keep a state are a multiple of it.
LATENT_BLOCK = 128

FULL, WINDOW, CHUNK, CROSS, STATE = "full", "window", "chunk", "cross", "state"


class Layers(t.NamedTuple):
    """Layers of one kind. What keeps nothing is not among them."""

    kind: str
    number: int
    bytes_: int  # of one token in one layer; of a state, what one request keeps
    tokens: int = 0  # of the window or chunk; of CROSS, what an encoder gives
    latent: bool = False  # one vector instead of keys and values


class Group(t.NamedTuple):
    """Groups of layers that need the same blocks."""

    kind: str
    number: int
    block: int  # tokens
    tokens: int


class Pool(t.NamedTuple):
    """A KV cache's blocks. A model that keeps nothing has no groups, and no bytes in a block."""

    block: int  # tokens
    block_bytes: int
    groups: tuple[Group, ...]
    in_flight: int  # tokens that may be computed before old ones are given back
    states: int  # blocks of a request in a group with states; 0 means one for each block of tokens

    def blocks_of(self, context: int) -> int:
        """Blocks that one request of that length needs."""
        return sum(group.number * self._blocks(group, context) for group in self.groups)

    def _blocks(self, group: Group, context: int) -> int:
        if group.kind == STATE and self.states:
            return self.states
        if group.kind == WINDOW:
            held = min(group.tokens - 1 + self.in_flight, context)
            return _ceil(held, group.block) + 1  # a window need not begin with a block
        if group.kind == CHUNK:
            return _ceil(min(group.tokens + self.in_flight, context), group.block)
        return _ceil(group.tokens if group.kind == CROSS else context, group.block)

    def bytes_of(self, context: int) -> int:
        """What has to be there for one request of that length; one block is never given away."""
        return (self.blocks_of(context) + 1) * self.block_bytes if self.groups else 0

    def blocks_in(self, size: int) -> int:
        return size // self.block_bytes if self.groups else 0

    def sequences(self, blocks: int, context: int) -> float:
        """How many requests of full length fit at once."""
        return blocks / self.blocks_of(context) if self.groups else 0.0

    def tokens(self, blocks: int, context: int) -> int:
        """The size that vLLM's log gives: how many requests of full length fit, times their length."""
        return int(self.sequences(blocks, context) * context)

    def longest(self, size: int, limit: int) -> int:
        """The longest context, up to LIMIT, that fits into SIZE bytes. 0 if none does."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes_of(middle) <= size else (low, middle - 1)
        return low


def pool(
    layers: t.Iterable[Layers],
    block: int,
    in_flight: int,
    states: int = 1,
    hybrid: bool = True,
    nearly: float = NEARLY_EQUAL,
) -> Pool:
    """HYBRID is False when vLLM is told to treat windows as full attention."""
    kinds = _merged([kind for kind in layers if kind.number and kind.bytes_])
    if not hybrid and any(kind.kind == FULL for kind in kinds):
        kinds = _merged([_as_full(kind) for kind in kinds])
    if not kinds:
        return Pool(block, 0, (), in_flight, states)
    block = _with_states(kinds, block)
    same = {(FULL, 0) if kind.kind == FULL else (kind.kind, kind.tokens) for kind in kinds}
    if len(same) == 1:  # one group, whatever their pages
        size = sum(kind.number * _page(kind, block) for kind in kinds)
        return Pool(block, size, (Group(kinds[0].kind, 1, block, kinds[0].tokens),), in_flight, states)
    page = max(_page(kind, block) for kind in kinds)
    if any(kind.latent and page % _page(kind, block) for kind in kinds) and any(k.kind == WINDOW for k in kinds):
        return pool(map(_as_full, kinds), block, in_flight, states)  # such pages cannot be padded
    rarest, most = min(kind.number for kind in kinds), max(kind.number for kind in kinds)
    size = most if most < rarest * nearly else rarest
    groups = tuple(Group(k.kind, _ceil(k.number, size), _block(k, block, page), k.tokens) for k in kinds)
    return Pool(min(group.block for group in groups), size * page, groups, in_flight, states)


def _with_states(kinds: t.Sequence[Layers], block: int) -> int:
    """The block whose page, in a layer with attention, holds the largest state."""
    state = max((kind.bytes_ for kind in kinds if kind.kind == STATE), default=0)
    first = next((kind for kind in kinds if kind.kind != STATE), None)
    if not state or first is None:
        return block
    step = max(block, LATENT_BLOCK) if first.latent else block
    return max(block, step * _ceil(state, step * first.bytes_))


def _page(kind: Layers, block: int) -> int:
    return kind.bytes_ * (1 if kind.kind == STATE else block)


def _block(kind: Layers, block: int, page: int) -> int:
    """Smaller pages get longer blocks where that fills the page of all, and are padded otherwise."""
    own = _page(kind, block)
    return block * (page // own) if kind.kind != STATE and page % own == 0 else block


def _as_full(kind: Layers) -> Layers:
    return kind._replace(kind=FULL, tokens=0) if kind.kind in (WINDOW, CHUNK) else kind


def _merged(kinds: t.Sequence[Layers]) -> list[Layers]:
    """Those that differ in their number only are one kind."""
    found: dict[Layers, int] = {}
    for kind in kinds:
        key = kind._replace(number=0)
        found[key] = found.get(key, 0) + kind.number
    return [key._replace(number=number) for key, number in found.items()]


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
