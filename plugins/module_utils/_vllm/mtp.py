# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers in a model's own files that draft tokens (MTP), read from its config.json. Pure.

S: vLLM 0.32, its SpeculativeConfig and the classes of such layers.
"""

from __future__ import annotations

import collections
import typing as t

from .._outside.values import mapping, sequence
from .config_values import MOST_LAYERS, Config, count_of_layers, wrong
from .layer_kinds import FULL, WINDOW, Kind, indices, named_kinds

_NUMBER = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
_IS_FULL, _IS_WINDOW = "full_attention", "sliding_attention"


def fields(config: Config, text: Config, layers: int, kinds: t.Sequence[Kind]) -> dict[str, t.Any]:
    """The fields of an entry: their number, and what each keeps where that is not what the first of KINDS keeps."""
    words = [kind for word in named_kinds(_words(config, text, layers)) for kind in word if kind in (FULL, WINDOW)]
    if not words:
        return {}
    of_window = next((kind for kind in kinds if kind.kind == WINDOW), None)
    of_all = next((kind for kind in kinds if kind.kind == FULL), None)
    found = {"mtp_layers": len(words)}
    if of_window is None or {*words} == {kinds[0].kind}:
        return found
    of_all = of_all or of_window._replace(kind=FULL, tokens=0)
    counts = collections.Counter(words)
    own = [kind._replace(layers=counts[kind.kind]) for kind in (of_all, of_window) if counts[kind.kind]]
    return {**found, "mtp_kinds": [kind.fields() for kind in own]}


def _words(config: Config, text: Config, layers: int) -> t.Sequence[t.Any]:
    """The kind of each of them, as layer_types names kinds."""
    model_type = str(text.get("model_type"))
    number = count_of_layers(text, *_NUMBER)
    if model_type.startswith("mimo_v2"):  # of which vLLM uses the first one, whatever the files have
        return [_IS_WINDOW]
    inner = mapping(config.get("mtp_config"))  # Inkling
    if inner:
        local = indices(inner.get("local_layer_ids"))
        number = count_of_layers(inner, *_NUMBER)
        return [_IS_WINDOW if index in local else _IS_FULL for index in range(number)]
    pattern = text.get("mtp_hybrid_override_pattern")
    if isinstance(pattern, str):  # Nemotron: as many parts of that pattern
        if len(pattern) * number > MOST_LAYERS:
            shown = f"{len(pattern)} items for {number} layers"
            raise wrong("mtp_hybrid_override_pattern", shown, f"at most {MOST_LAYERS} are possible in all")
        return [*pattern] * number
    own, every = text.get("mtp_layer_types"), sequence(text.get("layer_types"))
    if not own and model_type.startswith("exaone"):  # which counts from the first layer again
        own = every
    if not own and model_type.startswith("dots3"):
        own = [_IS_WINDOW] * number
    if not own and len(every) > layers:  # those behind the model's own
        own = every[layers:]
    return [*sequence(own)[:number], *[_IS_FULL] * (number - len(sequence(own)[:number]))]
