# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stages of a pipeline (pipeline_parallel_size): which layers and which weights each of them has. Pure.

S: get_pp_indices in vllm/distributed/utils.py, the same from vLLM 0.10 to 0.32.
"""

from __future__ import annotations

import typing as t

from .._catalog.vllm_options import integer, tokens_of, whole
from .._common.text import show

SIZE = "pipeline_parallel_size"
# Layers of each stage, as vLLM reads it from the environment: 24,24,16
PARTITION = "VLLM_PP_LAYER_PARTITION"

Entry = t.Mapping[str, t.Any]


class Stage(t.NamedTuple):
    """One of them. A model that is not divided into stages is the only one."""

    number: int = 1  # of all stages
    layers: int = 1  # of ALL_LAYERS
    all_layers: int = 1
    together: int = 0  # caches that each layer may have, where it is not known which of the layers have them
    is_first: bool = True  # it has the embeddings
    is_last: bool = True  # it has what chooses a token, and all that drafts

    def of(self, number: int) -> int:
        """Of so many caches of one kind, the most that this stage may have: a share, if all layers have as many, or in
        a hybrid, whose kinds take turns; or else as if all of them were in this stage."""
        share = -(-number * self.layers // self.all_layers)
        return max(share, min(number, self.together * self.layers))

    def weights(self, entry: Entry, model: int, draft: int) -> int:
        """Bytes of what this stage loads of a model and of the one that drafts for it."""
        if self.number == 1:
            return model + draft
        one = min(2 * (whole(entry.get("vocab_size")) or 0) * (whole(entry.get("hidden_size")) or 0), model)
        # where the files have one for both ends, each end has a copy
        ends = min(whole(entry.get("embedding_bytes")) or 2 * one, model)
        layers = -(-(model - ends) * self.layers // self.all_layers)
        return layers + one * (self.is_first + self.is_last) + (draft if self.is_last else 0)


def divided(layers: int, number: int) -> list[int]:
    """Layers of each stage, where no one says it: what is left over goes to the ones before the last."""
    found = [layers // number] * number
    for place in range(2, layers % number + 2):
        found[-place] += 1
    return found


def stages(entry: Entry, args: t.Mapping[str, t.Any], environment: t.Mapping[str, t.Any]) -> list[Stage]:
    """The stages that differ from each other."""
    number = tokens_of(args.get(SIZE)) or 1
    caches = _caches(entry)
    if number < 2 or not caches:
        return [Stage()]
    parts = _listed(environment)
    if not parts or problem(entry, args, environment):
        layers = _layers(entry) or caches
        parts = divided(layers, min(number, layers))
    total = sum(parts)
    together = 0 if caches % total == 0 or whole(entry.get("state_layers")) else -(-caches // total)
    last = len(parts) - 1
    each = (Stage(number, part, total, together, place == 0, place == last) for place, part in enumerate(parts))
    return list(dict.fromkeys(each))


def problem(entry: Entry, args: t.Mapping[str, t.Any], environment: t.Mapping[str, t.Any]) -> str:
    """One line, if vLLM cannot divide the layers of a model among so many stages."""
    number, layers = tokens_of(args.get(SIZE)) or 1, _layers(entry)
    if number < 2:
        return ""
    if layers and layers < number:
        return (
            f"vllm_extra_args.{SIZE}: {number} is not allowed, because {entry.get('name')} has {layers} layers, and"
            " each stage needs one; use fewer hosts"
        )
    if environment.get(PARTITION) is None:
        return ""
    said, parts = f"vllm_extra_env.{PARTITION}: {show(environment[PARTITION])} is not allowed", _listed(environment)
    example = f"such as {show(','.join(map(str, divided(layers, number))))}" if layers else "with commas"
    if parts is None or len(parts) != number:
        return f"{said}; use the layers of each of the {number} stages, {example}, or remove it"
    if layers and sum(parts) != layers:
        return f"{said}, because {entry.get('name')} has {layers} layers, and not {sum(parts)}; use {example[8:]}"
    return ""


def _layers(entry: Entry) -> int:
    """The decoder's, which vLLM divides; 0 if no one says it."""
    return whole(entry.get("hidden_layers")) or 0


def _caches(entry: Entry) -> int:
    """Of all layers: some keep nothing (Nemotron-NAS), or what an earlier one keeps (Gemma 3n), or several (Ouro)."""
    return (whole(entry.get("layers")) or 0) + (whole(entry.get("state_layers")) or 0)


def _listed(environment: t.Mapping[str, t.Any]) -> list[int] | None:
    """None if vLLM reads no parts of it, or a stage has no layer."""
    parts = [integer(part) or 0 for part in str(environment.get(PARTITION, "")).split(",")]
    return parts if min(parts) > 0 else None
