# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layers of options and environment: what wins, in which order it stands, and where it is said to come from."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter.settings import FilterModule
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import to_argv
from hypothesis import given
from hypothesis import strategies as st

settings = FilterModule().filters()["settings"]

LAYERS: list[dict[str, t.Any]] = [
    {"from": "the collection", "environment": {"HF_HUB_CACHE": "/root/.cache/huggingface"}},
    {"from": "profile latency", "args": {"max_model_len": 16384, "gpu_memory_utilization": 0.85, "max_num_seqs": 16}},
    {"from": "model small", "args": {"max_model_len": 8192}, "environment": {"A": "1"}},
    {"from": "this host", "args": {"gpu_memory_utilization": 0.5}, "notes": {"gpu_memory_utilization": "24 GiB"}},
    {"from": "vllm_extra_args", "args": {"max_num_seqs": None, "seed": 0, "max_model_len": 4096}},
    {"from": "vllm_extra_env", "environment": {"A": "2", "B": "3"}},
]


def test_a_later_layer_wins_and_a_name_keeps_its_place() -> None:
    merged = settings(LAYERS)
    assert list(merged["args"].items()) == [
        ("max_model_len", 4096),
        ("gpu_memory_utilization", 0.5),
        ("max_num_seqs", None),
        ("seed", 0),
    ]
    assert list(merged["environment"].items()) == [("HF_HUB_CACHE", "/root/.cache/huggingface"), ("A", "2"), ("B", "3")]


def test_each_line_says_where_it_comes_from_and_what_it_won_over() -> None:
    assert settings(LAYERS)["lines"] == [
        "--max-model-len 4096           vllm_extra_args, instead of 8192 of model small, 16384 of profile latency",
        "--gpu-memory-utilization 0.50  this host (24 GiB), instead of 0.85 of profile latency",
        "(max_num_seqs is dropped)      vllm_extra_args, instead of 16 of profile latency",
        "--seed 0                       vllm_extra_args",
        "HF_HUB_CACHE=/root/.cache/huggingface  the collection",
        "A=2                                    vllm_extra_env, instead of 1 of model small",
        "B=3                                    vllm_extra_env",
    ]


VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.sampled_from(["auto", "fp8"]))
ARGS = st.dictionaries(st.sampled_from(["max_num_seqs", "seed", "dtype", "enforce_eager"]), VALUES)


@given(st.lists(ARGS, max_size=5))
def test_the_lines_are_the_command_line(layers: list[dict[str, t.Any]]) -> None:
    merged = settings([{"from": str(number), "args": args} for number, args in enumerate(layers)])
    plain: dict[str, t.Any] = {}
    for args in layers:
        plain.update(args)
    assert merged["args"] == plain
    said = [line.partition("  ")[0] for line in merged["lines"] if not line.startswith("(")]
    assert " ".join(said).split() == to_argv(plain)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({"from": "x"}, "the input must be a list of layers"),
        (["x"], "the input must be a list of layers"),
        ([{"args": {}}], "layer 1: use the keys from, args, environment and notes"),
        ([{"from": "x", "arguments": {}}], "layer 1: use the keys"),
        ([{"from": "x", "args": ["y"]}], "x: args must be a mapping"),
        ([{"from": "x", "args": {"max-model-len": 1}}], "is not the name of an option; write max_model_len"),
    ],
)
def test_refused_with_one_line(layers: t.Any, words: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        settings(layers)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
