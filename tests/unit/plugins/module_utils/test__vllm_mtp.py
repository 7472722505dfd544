# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the layers that draft tokens keep, by family. Several are in tests/fixtures/kv_reference, as vLLM has them."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.config_values import ConfigError
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of

TEXT: dict[str, t.Any] = {
    "num_hidden_layers": 4,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 8192,
}
FULL, WINDOW = "full_attention", "sliding_attention"
WINDOWS = {**TEXT, "sliding_window": 128, "layer_types": [WINDOW, WINDOW, WINDOW, FULL]}
OTHER_HEADS = {"swa_num_key_value_heads": 4, "swa_head_dim": 64, "hybrid_layer_pattern": [0, 1, 1, 1]}
OF_WINDOW = {"layers": 1, "kv_heads": 2, "head_dim": 64, "sliding_window": 128}
OF_ALL = {"layers": 1, "kv_heads": 2, "head_dim": 64}


def drafting(**config: t.Any) -> tuple[int | None, t.Any]:
    found, _assumed = entry_of({**WINDOWS, **config}, 10**9)
    return found.get("mtp_layers"), found.get("mtp_kinds")


@pytest.mark.parametrize(
    ("config", "layers", "kinds"),
    [
        ({}, None, None),
        ({"num_nextn_predict_layers": 1}, 1, None),
        ({"mtp_num_hidden_layers": 2}, 2, None),
        ({"num_mtp_modules": 3}, 3, None),
        ({"num_nextn_predict_layers": 1, "mtp_layer_types": [FULL]}, 1, None),
        ({"num_nextn_predict_layers": 1, "mtp_layer_types": [WINDOW]}, 1, [OF_WINDOW]),
        ({"num_nextn_predict_layers": 2, "mtp_layer_types": [WINDOW, FULL]}, 2, [OF_ALL, OF_WINDOW]),
        ({"num_nextn_predict_layers": 2, "mtp_layer_types": [WINDOW]}, 2, [OF_ALL, OF_WINDOW]),
        ({"num_nextn_predict_layers": 1, "layer_types": [*WINDOWS["layer_types"], WINDOW]}, 1, [OF_WINDOW]),
        ({"num_nextn_predict_layers": 1, "layer_types": [*WINDOWS["layer_types"], FULL]}, 1, None),
        ({"num_nextn_predict_layers": 1, "model_type": "exaone_moe"}, 1, [OF_WINDOW]),
        ({"num_nextn_predict_layers": 1, "model_type": "dots3_note"}, 1, [OF_WINDOW]),
        ({"num_nextn_predict_layers": 3, "layer_types": [FULL] * 4, "model_type": "exaone_moe"}, 3, None),
        ({"num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "*E"}, 1, None),
        ({"num_nextn_predict_layers": 2, "mtp_hybrid_override_pattern": "**-"}, 4, None),
        ({"mtp_config": {"num_nextn_predict_layers": 2, "local_layer_ids": [0]}}, 2, [OF_ALL, OF_WINDOW]),
        ({"mtp_layer_types": [WINDOW]}, None, None),
        # a model with windows only
        ({"num_nextn_predict_layers": 1, "mtp_layer_types": [FULL], "layer_types": [WINDOW] * 4}, 1, [OF_ALL]),
        ({"num_nextn_predict_layers": 1, "mtp_layer_types": [WINDOW], "layer_types": [WINDOW] * 4}, 1, None),
        (
            {"num_nextn_predict_layers": 2, "mtp_layer_types": [FULL, WINDOW], "layer_types": [WINDOW] * 4},
            *(2, [OF_ALL, OF_WINDOW]),
        ),
    ],
)
def test_the_layers_that_draft(config: dict[str, t.Any], layers: int | None, kinds: t.Any) -> None:
    assert drafting(**config) == (layers, kinds)


def test_one_layer_of_mimo_drafts_whatever_its_files_have() -> None:
    words = {"model_type": "mimo_v2_flash", "layer_types": None, **OTHER_HEADS}
    kinds = [{"layers": 1, "kv_heads": 4, "head_dim": 64, "sliding_window": 128}]
    for number in ({}, {"num_nextn_predict_layers": 3}):
        assert drafting(**words, **number) == (1, kinds)


def test_layers_behind_the_models_own_are_none_of_them() -> None:
    two = {**WINDOWS, "num_nextn_predict_layers": 2}
    shorter, _assumed = entry_of({**two, "mtp_layer_types": [WINDOW, WINDOW]}, 10**9)
    longer, _assumed = entry_of({**two, "layer_types": [*WINDOWS["layer_types"], WINDOW, WINDOW]}, 10**9)
    assert longer == shorter


@pytest.mark.parametrize(
    "config",
    [
        {"num_nextn_predict_layers": "2"},
        {"num_nextn_predict_layers": -1},
        {"num_nextn_predict_layers": True},
        {"mtp_config": [1]},
        {"mtp_config": {"num_nextn_predict_layers": None, "local_layer_ids": {}}},
    ],
)
def test_what_is_no_number_of_layers(config: dict[str, t.Any]) -> None:
    assert drafting(**config) == (None, None)


def test_more_layers_than_any_model_has() -> None:
    with pytest.raises(ConfigError, match="at most 10000"):
        drafting(num_nextn_predict_layers=10**9)


def test_a_pattern_for_more_layers_than_any_model_has() -> None:
    assert drafting(num_nextn_predict_layers=100, mtp_hybrid_override_pattern="*" * 100) == (10_000, None)
    with pytest.raises(ConfigError, match="mtp_hybrid_override_pattern: '100 items for 101 layers'; at most 10000"):
        drafting(num_nextn_predict_layers=101, mtp_hybrid_override_pattern="*" * 100)


def test_a_long_list_of_layers_takes_no_long_time() -> None:
    began = time.process_time()
    config = {"num_nextn_predict_layers": 10_000, "local_layer_ids": [-1] * 500_000}
    assert drafting(mtp_config=config) == (10_000, None)
    assert time.process_time() - began < 5  # each of the layers against each of the list: half a minute


def test_names_of_kinds_that_are_none() -> None:
    assert drafting(num_nextn_predict_layers=2, mtp_layer_types=[None, {}]) == (2, None)
    assert drafting(num_nextn_predict_layers=2, mtp_layer_types="ab") == (2, None)
