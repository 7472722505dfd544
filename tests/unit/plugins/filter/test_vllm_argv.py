# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to arguments: by example, and against a real parser for any options."""

from __future__ import annotations

import argparse
import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter.vllm_argv import FilterModule
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from hypothesis import given
from hypothesis import strategies as st

vllm_argv = FilterModule().filters()["vllm_argv"]


@pytest.mark.parametrize(
    ("options", "argv"),
    [
        ({}, []),
        (
            {"max_model_len": 32768, "enable_prefix_caching": True},
            ["--max-model-len", "32768", "--enable-prefix-caching"],
        ),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"max_num_seqs": None, "seed": 0}, ["--seed", "0"]),
        ({"gpu_memory_utilization": 0.9}, ["--gpu-memory-utilization", "0.90"]),
        ({"gpu_memory_utilization": "0.8"}, ["--gpu-memory-utilization", "0.80"]),
        ({"cpu_offload_gb": 0.5}, ["--cpu-offload-gb", "0.5"]),
        ({"served_model_name": ["a", "b"]}, ["--served-model-name", "a", "b"]),
        ({"middleware": ["a.B", "c.d"]}, ["--middleware", "a.B", "--middleware", "c.d"]),  # one each time
        ({"hf_overrides": {"a": {"b": [1, True, None]}}}, ["--hf-overrides", '{"a": {"b": [1, true, null]}}']),
        ({"lora_modules": [{"name": "x"}, "y=z"]}, ["--lora-modules", '{"name": "x"}', "y=z"]),
        ({"max_model_len": -1}, ["--max-model-len", "-1"]),
        ({"x": [-1, 2]}, ["--x", "-1", "2"]),
        ({"x": -1e16}, ["--x=-1e+16"]),
        ({"chat_template": "-x"}, ["--chat-template=-x"]),
        ({"chat_template": "{{ a }} $B 'c'"}, ["--chat-template", "{{ a }} $B 'c'"]),
        ({"served_model_name": "ünï"}, ["--served-model-name", "ünï"]),
        ({"b": 1, "a": 2}, ["--b", "1", "--a", "2"]),
    ],
)
def test_arguments(options: dict[str, t.Any], argv: list[str]) -> None:
    assert vllm_argv(options) == argv


def test_the_guides_command_line() -> None:
    assert vllm_argv(Catalog().profiles()["throughput"]["args"]) == [
        *("--max-model-len", "32768"),
        *("--gpu-memory-utilization", "0.90"),
        *("--max-num-batched-tokens", "16384"),
        *("--max-num-seqs", "64"),
        "--enable-prefix-caching",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max-num-seqs": 1}, "vllm_argv: max-num-seqs: is not the name of an option; write max_num_seqs"),
        ({"--seed": 1}, "vllm_argv: --seed: is not the name of an option; write seed"),
        ({"seed; rm": 1}, "vllm_argv: seed; rm: is not the name of an option; use lower case letters, digits and _"),
        ({"served_model_name": []}, "vllm_argv: served_model_name: is an empty list; use null to drop the option"),
        (
            {"gpu_memory_utilization": "high"},
            "vllm_argv: gpu_memory_utilization: 'high' is no number; use a share such as 0.90",
        ),
        ({"a": ["b", "-c"]}, "vllm_argv: a: a value in the list begins with -, vLLM would take it for an option"),
        (["--seed", "1"], "vllm_argv: wants a mapping of options, not list"),
    ],
)
def test_refused(options: t.Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        vllm_argv(options)
    assert message in str(refused.value)


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,5}){0,3}", fullmatch=True).filter(
    lambda name: not name.startswith("no_")
)
SCALARS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), min_size=1),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    SCALARS,
    st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), min_size=1, max_size=4),
    st.dictionaries(st.text(), st.one_of(SCALARS, st.booleans(), st.none()), max_size=4),
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_a_real_parser_reads_back_what_went_in(options: dict[str, t.Any]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(flag, dest=name, nargs="+" if isinstance(value, list) else None)
    parsed = vars(parser.parse_args(vllm_argv(options)))
    for name, value in options.items():
        if isinstance(value, dict):
            assert json.loads(parsed[name]) == value
        elif value is None or isinstance(value, (bool, list)):
            assert parsed[name] == value
        elif name != "gpu_memory_utilization":
            assert parsed[name] == (value if isinstance(value, str) else json.dumps(value))


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_every_argument_is_text_and_the_order_stays(options: dict[str, t.Any]) -> None:
    argv = vllm_argv(options)
    assert all(isinstance(word, str) for word in argv)
    assert argv == [word for name, value in options.items() for word in vllm_argv({name: value})]


@given(st.text(), VALUES)
def test_a_name_is_an_option_or_refused(name: str, value: t.Any) -> None:
    try:
        argv = vllm_argv({name: value})
    except AnsibleFilterError as refused:
        assert str(refused)
    else:
        assert all(char.isalnum() or char == "_" for char in name)
        assert value is None or argv[0].startswith("--")
