# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of vLLM: the lists of two versions, and what an option in between may be."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog import option_words
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import (
    Options,
    adjacent_versions,
    misspelled,
    plain,
    share_text,
    version_key,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.text import nearest

RECORDED = ["0.10.1.1", "0.32.0"]


@pytest.mark.parametrize(
    ("version", "chosen"),
    [
        ("0.10.1.1", ["0.10.1.1"]),
        ("0.10.1.1+381074ae.nv25.09", ["0.10.1.1"]),
        ("0.32.0", ["0.32.0"]),
        ("0.32", ["0.32.0"]),
        ("0.32.0rc1", RECORDED),
        ("0.9.0", ["0.10.1.1"]),
        ("0.10.2", RECORDED),
        ("0.24.0", RECORDED),
        ("0.33.0", ["0.32.0"]),
        (None, RECORDED),
    ],
)
def test_adjacent_versions(version: str | None, chosen: list[str]) -> None:
    assert adjacent_versions(version, RECORDED) == chosen


@pytest.mark.parametrize(
    "rising",
    [
        ["0.9.0", "0.10.1.1", "0.32.0"],
        ["0.31.9", "0.32.0.dev7+gabc", "0.32.0a1", "0.32.0rc1", "0.32.0rc2", "0.32.0", "0.32.0.post1", "0.32.1"],
        ["0.12.0.dev9", "0.12.0a1.dev2", "0.12.0a1", "0.12.0b2", "0.12.0rc1.dev5+gabc", "0.12.0rc1", "0.12.0rc1.post1"],
        ["0.12.0rc1", "0.12.0rc2.dev7+g1", "0.12.0rc2", "0.12.0rc10", "0.12", "0.12.0.post1.dev3", "0.12.0.post1"],
        ["v0.30.0rc1.dev4-aarch64", "v0.30.0rc1-aarch64-cu130", "v0.30.0-aarch64", "v0.30.0.post1-aarch64"],
        ["25.12-py3", "25.12.post1-py3", "26.01-py3"],
        ["v0.20.0-cu130", "v0.25.1-aarch64", "v0.26.0-aarch64-cu129-ubuntu2404"],
    ],
)
def test_versions_are_ordered(rising: list[str]) -> None:
    assert sorted(rising, key=version_key) == rising
    assert len({version_key(version) for version in rising}) == len(rising)


@pytest.mark.parametrize(
    "same",
    [("0.32", "0.32.0"), ("0.20.1", "0.20.1+nv26.05"), ("25.9", "25.09-py3"), ("0", "0.0")]
    + [
        ("0.12.0rc1", same)
        for same in ("0.12.0.rc1", "0.12rc.1", "0.12.0c1", "0.12.0RC1", "v0.12.0-pre1", "0.12rc1+cu130")
    ]
    + [("0.12.0a0", "0.12.0alpha"), ("0.12.0", "0.12.0-aarch64"), ("0.12", "0.12.0-cu130")]
    + [("0.20.0", "0.20.0-devel"), ("0.20.0", "0.20.0-postgres"), ("0.20.0rc1", "0.20.0rc1-devel")]
    + [("0.12rc1.dev5", "0.12.0rc1dev5"), ("0.12rc1.post1.dev3", "0.12.0rc1post1dev3")],
)
def test_versions_that_are_the_same(same: tuple[str, str]) -> None:
    assert version_key(same[0]) == version_key(same[1])


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("max_num_seqs", None),
        ("max-num-seqs", "write max_num_seqs"),
        ("--max-num-seqs", "write max_num_seqs"),
        ("Max Num Seqs", "write max_num_seqs"),
        ("max__num", "write max_num"),
        ("", "use lower case letters, digits and _"),
        ("a;b", "use lower case letters, digits and _"),
        (1, "use lower case letters, digits and _"),
    ],
)
def test_spelling(name: t.Any, advice: str | None) -> None:
    assert misspelled(name) == advice


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("limit_mm_per_prompt.video", 0, "write limit_mm_per_prompt: {video: 0}"),
        ("--limit-mm-per-prompt.image", 2, "write limit_mm_per_prompt: {image: 2}"),
        ("compilation-config.pass.fuse", True, "write compilation_config: {pass: {fuse: true}}"),
        ("speculative_config.method", "mtp", 'write speculative_config: {method: "mtp"}'),
        ("-cc.mode", 3, "write compilation_config: {mode: 3}"),
        ("-O.level", 3, "write compilation_config: {level: 3}"),
        ("a..b", 1, "use lower case letters, digits and _"),
        ("--reasoning-parser=qwen3", True, "write reasoning_parser: qwen3"),
        ("--gpu-memory-utilization=0.8", True, "write gpu_memory_utilization: 0.8"),
        ("--kv-cache-dtype fp8", None, "write kv_cache_dtype: fp8"),
        ("-tp=2", True, "write tensor_parallel_size: 2"),
        ("--speculative-config.method=mtp", True, 'write speculative_config: {method: "mtp"}'),
        ('--limit-mm-per-prompt={"video": 0}', True, 'write limit_mm_per_prompt: {"video": 0}'),
    ],
)
def test_a_part_of_a_mapping(name: str, value: t.Any, advice: str) -> None:
    assert misspelled(name, value) == advice


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("-tp", 2, "write tensor_parallel_size"),
        ("-ep", True, "write enable_expert_parallel"),
        ("-dcp", 2, "write decode_context_parallel_size"),
        ("-r", 1, "write node_rank"),
        ("-O", 2, "write optimization_level: 2"),
        ("-O", "0", "write optimization_level: 0"),
        ("-O1", None, "write optimization_level: 1"),
        ("-O", None, "write optimization_level"),
        ("-O", True, "write optimization_level"),
        ("-O", '{"level":3}', 'write compilation_config: {"level":3}'),
        ("-O", {"level": 3}, 'write compilation_config: {"level": 3}'),
    ],
)
def test_a_short_form_with_what_its_owner_gave_it(name: str, value: t.Any, advice: str) -> None:
    assert misspelled(name, value) == advice
    known = Options(["0.1"], [[]])
    bare = name.strip("-").lower()
    assert known.problem(bare, value, lambda *_args: None) == f"unknown option of vLLM 0.1; {advice}"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.9, "0.90"),
        (0.035, "0.035"),
        (0.125, "0.125"),
        (0.9209, "0.9209"),
        (1, "1.00"),
        (0.57, "0.57"),
        (1e-05, "0.00001"),
    ],
)
def test_a_share_keeps_its_digits(share: float, text: str) -> None:
    assert share_text(share) == text


OPTIONS = Options(
    ["1", "2"],
    [
        [{"name": "both-ways", "kind": "flag", "negatable": True}, {"name": "bare-too", "kind": "value", "bare": True}],
        [
            {"name": "only-on", "kind": "flag"},
            {"name": "takes-one", "kind": "value"},
            {"name": "both-ways", "kind": "value"},
        ],
    ],
)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("both_ways", True, None),
        ("both_ways", False, None),
        ("both_ways", "x", None),
        ("bare_too", True, None),
        ("bare_too", "x", None),
        ("bare_too", False, "false is not allowed; the option has no --no- form, use null to drop it"),
        ("only_on", True, None),
        ("only_on", None, None),
        ("only_on", 1, "takes no value; use true, false or null"),
        ("takes_one", True, "true is not allowed; give the option a value"),
        ("takes_ones", 1, "unknown option of vLLM 1 or 2; did you mean takes_one?"),
        ("no_both_ways", True, "unknown option of vLLM 1 or 2; write both_ways: false"),
        ("no_takes_one", True, "unknown option of vLLM 1 or 2; did you mean takes_one?"),
        ("zzz", 1, "unknown option of vLLM 1 or 2; `vllm serve --help` lists what there is"),
    ],
)
def test_problem(name: str, value: t.Any, problem: str | None) -> None:
    assert OPTIONS.problem(name, value, nearest) == problem


# What the two generations are known to differ in: a check of the recording itself.
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("max_model_len", True, True),
        ("download_dir", True, True),
        ("kv_cache_dtype", True, True),
        ("trust_remote_code", True, True),
        ("swap_space", True, False),
        ("disable_log_requests", True, False),
        ("rope_scaling", True, False),
        ("kv_cache_memory_bytes", False, True),
        ("safetensors_load_strategy", False, True),
        ("optimization_level", False, True),
        ("performance_mode", False, True),
        ("num_scheduler_steps", False, False),
    ],
)
def test_recorded_versions(name: str, old: bool, new: bool) -> None:
    catalog = Catalog()
    assert [name in catalog.options(version).by_name for version in RECORDED] == [old, new]


def test_recorded_kinds() -> None:
    for version in RECORDED:
        options = Catalog().options(version).by_name
        assert len(options) > 150
        assert options["enable_prefix_caching"].negatable
        assert options["trust_remote_code"].flag
        assert not options["max_num_seqs"].flag
        assert not options["disable_log_stats"].negatable


def test_plain_containers() -> None:
    value = plain({"a": ({"b": 1},), 2: [True]})
    assert value == {"a": [{"b": 1}], "2": [True]}


def test_options_of_a_patched_vllm_are_taken_as_they_are() -> None:
    known = Options(["0.1"], [[{"name": "seed", "kind": "value"}]], ["mxfp4-backend", "mxfp4_layers", "--my-opt"])
    for value in (True, False, "moe,qkv", None):
        assert known.problem("mxfp4_backend", value, lambda *_args: None) is None
    assert known.problem("my_opt", 1, lambda *_args: None) is None
    assert known.problem("mxfp4_layer", 1, lambda *_args: "mxfp4_layers") is not None
    assert known.problem("seed", True, lambda *_args: None) is not None


def test_every_option_that_is_gone_or_short_is_no_option_of_today_but_what_it_says_is() -> None:
    newest = Catalog().options("0.33.0").by_name
    for name in option_words.GONE:
        assert name not in newest
    for name, full in option_words.SHORT.items():
        assert name not in newest
        assert full in newest
    assert "optimization_level" in newest
    for word in option_words.GONE.values():
        for option in re.findall(r"^write (\w+)", word):
            assert option in newest
