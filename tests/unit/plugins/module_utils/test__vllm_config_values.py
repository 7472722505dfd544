# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in a config.json: an entry of bounded size, or one line."""

from __future__ import annotations

import json
import re
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import activations, layer_kinds, model_config
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.config_values import ConfigError
from ansible_collections.dgxspark.vllm.plugins.modules import model_info
from hypothesis import given, settings
from hypothesis import strategies as st

QWEN3: dict[str, t.Any] = {"num_hidden_layers": 36, "num_attention_heads": 32, "hidden_size": 4096}
# Every word of the code: names of fields, of families, and of kinds of layers.
WORDS = sorted(
    {
        word
        for module in (activations, layer_kinds, model_config)
        for word in re.findall(r'"([\w*-]+)"', Path(str(module.__file__)).read_text(encoding="utf-8"))
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 70)
    | st.sampled_from([2**31, 10**10, 10**30, 10**400, -(10**30)])
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=8),
    max_leaves=30,
)


def nested(depth: int) -> t.Any:
    value: t.Any = {}
    for _level in range(depth):
        value = {"text_config": value}
    return value


@settings(max_examples=4 * settings.default.max_examples)
@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=25), st.booleans())
def test_no_content_is_a_crash(config: dict[str, t.Any], begins: bool) -> None:
    try:
        entry, assumed = model_config.entry_of({**(QWEN3 if begins else {}), **config}, 10**9)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 300
    else:
        json.dumps(entry, allow_nan=False)
        assert entry["layers"] <= 20_000
        assert len(assumed) < 40


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 10**10}, "num_hidden_layers: 10000000000; at most 10000 are possible"),
        ({"num_hidden_layers": 10**400}, "num_hidden_layers: 1000.*; at most"),
        (
            {"num_hidden_layers": 10_000, "total_ut_steps": 10_000},
            "10000 times its layers: 100000000; at most 10000 are",
        ),
        ({"num_hidden_layers": 5001, "loop_num": 2}, "2 times its layers: 10002; at most 10000 are"),
        ({"layer_types": ["a"] * 20_000}, "layer_types: '20000 items'; at most 10000 are possible"),
        ({"hybrid_override_pattern": "M" * 1_000_000}, "hybrid_override_pattern: '1000000 items'; at most"),
        ({"layer_types": [{}]}, "in layer_types: 'dict'; a name for each layer"),
        ({"layer_types": [None]}, "in layer_types: 'NoneType'; a name for each layer"),
        ({"layer_types": [["a"]]}, "in layer_types: 'list'; a name for each layer"),
        ({"layer_types": ["full", 1]}, "in layer_types: 1; a name"),
        ({"hidden_size": 10**30}, "hidden_size: 1000.*; at most"),
        ({"max_position_embeddings": 9, "rope_scaling": {"type": "linear", "factor": float("inf")}}, "factor.*: inf; "),
        ({"max_position_embeddings": 9, "rope_scaling": {"type": "yarn", "factor": float("nan")}}, "factor.*: nan; "),
        ({"max_position_embeddings": 9, "rope_scaling": {"type": "linear", "factor": 10**400}}, "factor of its positi"),
        (nested(1000), "nested more than 32 levels deep"),
        ({"x": [[]] * 1_000_001}, "more than 1000000 values"),
    ],
)
def test_what_no_model_has_is_one_line(change: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        model_config.entry_of({**QWEN3, **change}, 10)
    assert "\n" not in str(error.value)


def test_what_some_models_have_is_none_of_that() -> None:
    config = {**QWEN3, "model_max_length": 10**30, "time_step_limit": [0.0, float("inf")]}
    assert model_config.entry_of(config, 10)[0]["layers"] == 36


def test_many_kinds_take_no_squared_time() -> None:
    begin = time.process_time()
    entry, assumed = model_config.entry_of({**QWEN3, "layer_types": [f"kind{number}" for number in range(10_000)]}, 10)
    assert time.process_time() - begin < 2
    assert (entry["layers"], len(assumed)) == (10_000, 11)  # one is of the missing context


@pytest.mark.parametrize(
    "index",
    [
        {"metadata": []},
        {"metadata": "x"},
        {"metadata": {"total_size": float("inf")}},
        {"metadata": {"total_size": float("nan")}},
        {"metadata": {"total_size": "1"}},
        {"weight_map": {"a": "../../etc/passwd", "b": [], "c": "\ud800", "d": "a\0b"}},
    ],
)
def test_an_index_with_nonsense_says_no_size(index: dict[str, t.Any]) -> None:
    class Source:
        def read_json(self, name: str) -> dict[str, t.Any] | None:
            return index if name == model_info.INDEX else None

        def size(self, name: str) -> int | None:
            assert name in model_info.SINGLES
            return None

    assert model_info.weights_bytes(Source()) is None


def test_an_index_with_too_many_files_is_refused() -> None:
    class Source:
        def read_json(self, name: str) -> dict[str, t.Any] | None:
            return {"weight_map": {str(number): str(number) for number in range(2001)}}

        def size(self, name: str) -> int | None:
            raise AssertionError("nobody is asked 2001 times")

    with pytest.raises(ConfigError, match=r"model\.safetensors\.index\.json names 2001 files"):
        model_info.weights_bytes(Source())
