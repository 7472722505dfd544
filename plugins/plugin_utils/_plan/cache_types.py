# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of what layers keep, by the types that options ask for. Pure; the rules are those of vLLM 0.32."""

from __future__ import annotations

import typing as t

from .._catalog.vllm_options import integer, whole

# S: vLLM's AttentionSpec (0.27.1): bytes of a vector of keys or values, as numbers and what belongs to each vector.
PACKED: dict[str, t.Callable[[int], int]] = {
    "nvfp4": lambda numbers: numbers // 2 + numbers // 16,  # a scale for each 16
    "int4_per_token_head": lambda numbers: numbers // 2 + 4,
    "int8_per_token_head": lambda numbers: numbers + 4,
    "fp8_per_token_head": lambda numbers: numbers + 4,
}
PACKED_BYTES = 80  # S: what sparse attention keeps of a latent vector beside 8 bits a number: positions in BF16, scales
BF16 = 2
_WIDTHS = {"float32": 4, "bfloat16": BF16, "float16": BF16}
SKIPPED = "kv_cache_dtype_skip_layers"

Kind = t.Mapping[str, t.Any]


def state_bytes(entry: t.Mapping[str, t.Any], args: t.Mapping[str, t.Any], drafts: int) -> int:
    """Of one layer and request. Drafts add inputs of the convolution; the matrix has its type too, if not its own."""
    matrix, own = whole(entry.get("state_matrix")) or 0, whole(entry.get("state_width")) or BF16
    inputs = _WIDTHS.get(str(args.get("mamba_cache_dtype")), BF16)
    width = _WIDTHS.get(str(args.get("mamba_ssm_cache_dtype")), max(own, inputs))
    kept = (whole(entry.get("state_bytes")) or 0) - matrix * own
    drafted = BF16 * drafts * (whole(entry.get("state_channels")) or 0)
    return (kept + drafted) * inputs // BF16 + matrix * width


def keeps_windows(args: t.Mapping[str, t.Any]) -> bool:
    """Whether layers with a window stay in BF16 where the others are quantized."""
    return "sliding_window" in _skipped(args)


def kept(kinds: list[Kind], args: t.Mapping[str, t.Any], states: int, planned: bool) -> tuple[list[Kind], str | None]:
    """Kinds of layers, with those that stay so by their number apart; and what of them is not planned, if so.

    Numbers count all layers, also those with states, so no one knows of which kind they are if there are several.
    """
    some = [kind for kind in kinds if _layers(kind)]
    number = _numbered(args, sum(map(_layers, some)) + states)
    if not planned:
        is_asked = number or (keeps_windows(args) and any(kind.get("sliding_window") for kind in some))
        return kinds, "the layers" if is_asked else None
    if not number:
        return kinds, None
    if states or len(some) != 1:
        return kinds, f"the {'numbered ' if keeps_windows(args) else ''}layers"
    rest = [{**kind, "layers": _layers(kind) - number} if kind is some[0] else kind for kind in kinds]
    return [*rest, {**some[0], "layers": number, "is_kept": True}], None


def _layers(kind: Kind) -> int:
    return whole(kind.get("layers")) or 0


def _numbered(args: t.Mapping[str, t.Any], layers: int) -> int:
    """How many of the layers are named by their number."""
    return len({number for number in map(integer, _skipped(args)) if number is not None and 0 <= number < layers})


def _skipped(args: t.Mapping[str, t.Any]) -> list[str]:
    found = args.get(SKIPPED)
    return [str(item) for item in (found if isinstance(found, list) else [] if found is None else [found])]


def in_bf16(numbers: int) -> int:
    return numbers * BF16
