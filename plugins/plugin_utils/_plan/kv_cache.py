# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How vLLM divides a KV cache into blocks, and how many tokens that is. Pure; the rules are those of vLLM 0.32.

A layer keeps a page for each block of tokens. Layers that need the same blocks stand in one group; all groups draw from
one pool, whose blocks are as large as the pages of one group. A model of one kind of layers has one group. Where kinds
are mixed, groups are of one size, that of the rarest kind, so that every block fits every group.
"""

from __future__ import annotations

import typing as t

# CUDA's and the CPU build's default block, in tokens. The CPU build wants 16 for a latent cache.
BLOCK, CPU_BLOCK = 16, 128
# A kind of layers less than that much more frequent than the rarest one is padded to one group.
NEARLY_EQUAL = 1.5


class Layers(t.NamedTuple):
    """What the layers of one host keep. A layer that keeps nothing is not counted."""

    full: int  # look at the whole context
    window: int  # look at the last WINDOW_TOKENS only
    state: int  # keep a state of constant size for each request
    window_tokens: int
    token_bytes: int  # of one token in one layer of attention
    state_bytes: int  # of one request in one layer with a state


class Group(t.NamedTuple):
    kind: str  # full, window or state
    number: int


class Pool(t.NamedTuple):
    """A KV cache's blocks."""

    block: int  # tokens
    block_bytes: int
    groups: tuple[Group, ...]
    window_tokens: int
    in_flight: int  # tokens that may be computed before old ones are given back
    states: int  # blocks of a request in a group with states

    def blocks_of(self, context: int) -> int:
        """Blocks that one request of that length needs."""
        return sum(group.number * self._blocks(group.kind, context) for group in self.groups)

    def _blocks(self, kind: str, context: int) -> int:
        if kind == "state":
            return self.states
        if kind == "window":
            held = min(self.window_tokens - 1 + self.in_flight, context)
            return _ceil(held, self.block) + 1  # a window need not begin with a block
        return _ceil(context, self.block)

    def bytes_of(self, context: int) -> int:
        """What has to be there for one request of that length; one block is never given away."""
        return (self.blocks_of(context) + 1) * self.block_bytes

    def tokens(self, blocks: int, context: int) -> int:
        """The size that vLLM's log gives: how many requests of full length fit, times their length."""
        return int(blocks / self.blocks_of(context) * context)

    def longest(self, size: int, limit: int) -> int:
        """The longest context, up to LIMIT, that fits into SIZE bytes. 0 if none does."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes_of(middle) <= size else (low, middle - 1)
        return low


def pool(layers: Layers, block: int, in_flight: int, states: int = 1, hybrid: bool = True) -> Pool:
    """HYBRID is False when vLLM is told to treat windows as full attention."""
    full, window = layers.full, layers.window
    if not hybrid and full:
        full, window = full + window, 0
    if layers.state and layers.token_bytes:
        # one page fits a state too
        block *= _ceil(layers.state_bytes, block * layers.token_bytes)
    counts = {kind: count for kind, count in (("full", full), ("window", window), ("state", layers.state)) if count}
    rarest, most = min(counts.values()), max(counts.values())
    size = most if most < rarest * NEARLY_EQUAL else rarest
    groups = tuple(Group(kind, _ceil(count, size)) for kind, count in counts.items())
    page = max(block * layers.token_bytes, layers.state_bytes if layers.state else 0)
    return Pool(block, size * page, groups, layers.window_tokens, in_flight, states)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
