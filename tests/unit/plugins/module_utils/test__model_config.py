# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From config.json to an entry: what families write differently. The journey `plan` does it with real engines."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._model_config import ConfigError, entry_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalogue import MODEL_FIELDS, Catalogue

QWEN3 = {
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 4096,
    "max_position_embeddings": 40960,
}
LINEAR = {
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


def entry(**changes: t.Any) -> dict[str, t.Any]:
    config = {**QWEN3, **changes}
    found, assumed = entry_of({name: value for name, value in config.items() if value is not None}, 10)
    assert set(found) <= set(MODEL_FIELDS)
    return {**found, "assumed": assumed}


def test_it_is_what_the_catalogue_says() -> None:
    ours = Catalogue().model("qwen3-8b-fp8")
    found = entry()
    for name in ("layers", "kv_heads", "head_dim", "config_context"):
        assert found[name] == ours[name]
    assert found["assumed"] == []


def test_what_is_left_out() -> None:
    found = entry(head_dim=None, num_key_value_heads=None)
    assert (found["head_dim"], found["kv_heads"]) == (128, 32)


def test_a_model_that_sees() -> None:
    found, _assumed = entry_of({"text_config": QWEN3, "vision_config": {"num_hidden_layers": 27}}, 10)
    assert found["layers"] == 36


def test_a_latent_cache() -> None:
    assert entry(kv_lora_rank=512, qk_rope_head_dim=64)["latent_dim"] == 576


@pytest.mark.parametrize(
    ("changes", "window", "full"),
    [
        ({"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 18}, 128, 18),
        ({"sliding_window": 512, "sliding_window_pattern": 6}, 512, 6),
        ({"sliding_window": 4096, "model_type": "mistral"}, 4096, 0),
        # named, and not used
        ({"sliding_window": 4096, "use_sliding_window": False}, None, None),
        ({"sliding_window": None, "model_type": "mistral"}, None, None),
    ],
)
def test_windows(changes: dict[str, t.Any], window: int | None, full: int | None) -> None:
    found = entry(**changes)
    assert (found.get("sliding_window"), found.get("full_attention_layers")) == (window, full)
    assert (found["layers"], found["assumed"]) == (36, [])


NINE_TIMES = (["linear_attention"] * 3 + ["full_attention"]) * 9


@pytest.mark.parametrize("kinds", [{"full_attention_interval": 4}, {"layer_types": NINE_TIMES}])
def test_states(kinds: dict[str, t.Any]) -> None:
    found = entry(**LINEAR, **kinds, mamba_ssm_dtype="float32")
    assert (found["layers"], found["state_layers"]) == (9, 27)
    assert found["state_bytes"] == 2 * (2 * 16 * 128 + 32 * 128) * 3 + 4 * 32 * 128 * 128


def test_what_is_not_known_is_planned_dear_and_said() -> None:
    assert entry(sliding_window=4096)["assumed"] == ["its window of 4096 tokens is planned as full attention"]
    found = entry(layer_types=["full_attention"] * 30 + ["chunked_attention"] * 6)
    assert (found["layers"], found["assumed"]) == (
        36,
        ["6 layers of kind chunked_attention are planned as full attention"],
    )
    found = entry(layer_types=["full_attention"] * 30 + ["linear_attention"] * 6)
    assert (found["layers"], found["assumed"]) == (30, ["the state of 6 linear layers is not counted"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": None}, "no num_hidden_layers"),
        ({"num_attention_heads": "many"}, "no num_attention_heads"),
        ({"max_position_embeddings": None}, "no max_position_embeddings"),
        ({"head_dim": None, "hidden_size": None}, "neither head_dim nor hidden_size"),
        ({"layer_types": ["linear_attention"] * 36}, "no layer with attention"),
    ],
)
def test_too_little(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        entry(**changes)
