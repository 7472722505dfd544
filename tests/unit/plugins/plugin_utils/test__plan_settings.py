# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of options and environment: what wins, in which order it stands, and where it is said to come from."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import to_argv
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.settings import Layer, merged
from hypothesis import given
from hypothesis import strategies as st

LAYERS = [
    Layer("the collection", environment={"HF_HUB_CACHE": "/root/.cache/huggingface"}),
    Layer(
        "profile latency",
        args={"max_model_len": 16384, "gpu_memory_utilization": 0.85, "max_num_seqs": 16},
        args_at="vllm_profiles.latency.args.",
    ),
    Layer("model small", args={"max_model_len": 8192}, environment={"A": "1"}),
    Layer("this host", args={"gpu_memory_utilization": 0.5}, notes={"gpu_memory_utilization": "24 GiB"}),
    Layer("vllm_extra_args", args={"max_num_seqs": None, "seed": 0, "max_model_len": 4096}, args_at="vllm_extra_args."),
    Layer("vllm_extra_env", environment={"A": "2", "B": "3"}, environment_at="vllm_extra_env."),
]


def test_a_later_layer_wins_and_a_name_keeps_its_place() -> None:
    found = merged(LAYERS)
    assert list(found.args.items()) == [
        ("max_model_len", 4096),
        ("gpu_memory_utilization", 0.5),
        ("max_num_seqs", None),
        ("seed", 0),
    ]
    assert list(found.environment.items()) == [("HF_HUB_CACHE", "/root/.cache/huggingface"), ("A", "2"), ("B", "3")]


def test_each_line_says_where_it_comes_from_and_what_it_won_over() -> None:
    assert merged(LAYERS).lines == [
        "--max-model-len 4096           vllm_extra_args, instead of 8192 of model small, 16384 of profile latency",
        "--gpu-memory-utilization 0.50  this host (24 GiB), instead of 0.85 of profile latency",
        "(max_num_seqs is dropped)      vllm_extra_args, instead of 16 of profile latency",
        "--seed 0                       vllm_extra_args",
        "HF_HUB_CACHE=/root/.cache/huggingface  the collection",
        "A=2                                    vllm_extra_env, instead of 1 of model small",
        "B=3                                    vllm_extra_env",
    ]


def test_where_the_user_writes_each_value() -> None:
    at = {item["name"]: [item["at"], *(other["at"] for other in item["over"])] for item in merged(LAYERS).explained}
    assert at["max_num_seqs"] == ["vllm_extra_args.max_num_seqs", "vllm_profiles.latency.args.max_num_seqs"]
    assert at["gpu_memory_utilization"][0] == "this host"
    assert at["A"] == ["vllm_extra_env.A", "model small"]


VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.sampled_from(["auto", "fp8"]))
ARGS = st.dictionaries(st.sampled_from(["max_num_seqs", "seed", "dtype", "enforce_eager"]), VALUES)


@given(st.lists(ARGS, max_size=5))
def test_the_lines_are_the_command_line(layers: list[dict[str, t.Any]]) -> None:
    found = merged([Layer(str(number), args=args) for number, args in enumerate(layers)])
    plain: dict[str, t.Any] = {}
    for args in layers:
        plain.update(args)
    assert found.args == plain
    said = [line.partition("  ")[0] for line in found.lines if not line.startswith("(")]
    assert " ".join(said).split() == to_argv(plain)


def test_a_bad_name_is_refused_with_one_line() -> None:
    with pytest.raises(ValueError, match="is not the name of an option; write max_model_len") as refused:
        merged([Layer("x", args={"max-model-len": 1})]).lines  # noqa: B018 the lines are made when they are read
    assert "\n" not in str(refused.value)
