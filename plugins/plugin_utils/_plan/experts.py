# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vLLM adds to experts in MXFP4, so that the sides of their matrices fill the tiles of the kernel. Pure."""

from __future__ import annotations

import typing as t

from .._catalog.vllm_options import whole

# S: vLLM's fused_moe/oracle/mxfp4.py, the same in 0.24 and 0.32. The sides are the hidden size and a rank's width of an
# expert. Other kernels round otherwise, and keep the result in layouts of their own.
MARLIN_SIDES = (256, 128)
MATRICES = 3  # gate, up and down
NUMBERS, BYTES = 32, 17  # of 4 bits, and their scale


def padding(entry: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any], ranks: int) -> int:
    """Bytes of all ranks together. 0 where the kernel was not chosen, or is another one."""
    hidden, width, experts, layers = (
        whole(entry.get(name)) or 0 for name in ("hidden_size", "expert_size", "experts", "layers")
    )
    if str(args.get("moe_backend")).lower() != "marlin" or not (hidden and width):
        return 0
    ranks = 1 if args.get("enable_expert_parallel") is True else ranks  # which divide the experts, and not their width
    tall, wide = (-(-side // to) * to for side, to in zip((hidden, -(-width // ranks)), MARLIN_SIDES, strict=True))
    return layers * experts * MATRICES * (tall * wide * ranks - hidden * width) * BYTES // NUMBERS
