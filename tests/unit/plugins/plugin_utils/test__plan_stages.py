# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model as a pipeline, three and four of them, too: command lines, memory, and what is refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, plan
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import Node, Nodes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import Resolved, ResolveError, resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.stages import (
    PARTITION,
    Stage,
    divided,
    problem,
    stages,
)

from support.services import CATALOG, spark, values

MODEL = {"id": "a/b", "weights_bytes": 30 * 10**9, "layers": 61, "kv_heads": 8, "head_dim": 128}
MODEL |= {"native_context": 65536, "attention_heads": 64, "hidden_layers": 61}


def group(number: int, rank: int = 0, model: dict[str, t.Any] | None = None, **args: t.Any) -> Resolved:
    """One of so many hosts, with options of the owner and, in environment, variables."""
    environment = args.pop("environment", {})
    members = tuple(Node(f"spark0{place}", f"192.168.100.{place}") for place in range(1, number + 1))
    typed = values(
        vllm_nodes=[member.host for member in members],
        vllm_image="nvcr.io/nvidia/vllm:26.07-py3",
        vllm_model="a/b",
        vllm_max_model_len=4096,
        vllm_extra_args=args,
        vllm_extra_env=environment,
    )
    interfaces = [{"name": "enp1s0f0np0", "addresses": [f"192.168.100.{rank + 1}"]}]
    return resolve(
        typed, CATALOG, spark(interfaces=interfaces), model_info=model or MODEL, members=Nodes(members, rank)
    )


@pytest.mark.parametrize(
    ("layers", "number", "found"),
    [
        (48, 2, [24, 24]),
        (61, 2, [31, 30]),
        (61, 3, [20, 21, 20]),
        (62, 3, [21, 21, 20]),
        (63, 4, [16, 16, 16, 15]),
        (61, 4, [15, 15, 16, 15]),  # the example of vLLM's documentation
    ],
)
def test_layers_are_divided_as_vllm_does(layers: int, number: int, found: list[int]) -> None:
    assert divided(layers, number) == found


@pytest.mark.parametrize(
    ("number", "args", "sizes"),
    [
        (3, {"pipeline_parallel_size": 3}, ["pipeline-parallel-size 3"]),
        (4, {"pipeline_parallel_size": 4}, ["pipeline-parallel-size 4"]),
        (
            4,
            {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
            ["pipeline-parallel-size 2", "tensor-parallel-size 2"],
        ),
        (4, {}, ["tensor-parallel-size 4"]),
    ],
)
def test_every_rank_has_the_same_sizes_and_a_number_of_its_own(
    number: int, args: dict[str, t.Any], sizes: list[str]
) -> None:
    ranks = [group(number, rank, **args) for rank in range(number)]
    lines = [" ".join(each.argv) for each in ranks]
    for rank, line in enumerate(lines):
        assert [option for option in sorted(line.split(" --")) if "parallel-size" in option] == sizes
        assert f"--nnodes {number} --node-rank {rank} --master-addr 192.168.100.1" in line
        assert line.endswith("--headless") is (rank > 0)
        assert ranks[rank].facts["nodes"] == [f"192.168.100.{place}" for place in range(1, number + 1)]
        assert (ranks[rank].facts["rank"], ranks[rank].plan) == (rank, ranks[0].plan)


def test_the_stage_with_the_least_room_is_planned() -> None:
    """By hand: 61 layers in stages of 20, 21 and 20, with 8 heads of 128 numbers in BF16, keys and values."""
    found = group(3, pipeline_parallel_size=3).plan
    assert found["kv_bytes_per_token"] == 21 * 2 * 8 * 128 * 2
    assert found["weights_bytes"] == -(-30 * 10**9 * 21 // 61)


def test_an_owner_may_divide_the_layers() -> None:
    found = group(2, pipeline_parallel_size=2, environment={PARTITION: "41,20"})
    assert found.plan["kv_bytes_per_token"] == 41 * 2 * 8 * 128 * 2
    assert found.environment[PARTITION] == "41,20"


def test_both_ends_have_the_words() -> None:
    """By hand: 10 GB, of which 1 GB are embeddings and 1 GB the other end."""
    entry = {"vocab_size": 100_000, "hidden_size": 5000, "layers": 40}
    args = {"pipeline_parallel_size": 4}
    first, inner, last = stages(entry, args, {})
    assert [each.weights(entry, 10**10, 7) for each in (first, inner, last)] == [3 * 10**9, 2 * 10**9, 3 * 10**9 + 7]
    tied = {**entry, "embedding_bytes": 10**9}  # one in the files, a copy at each end
    assert [each.weights(tied, 10**10, 0) for each in (first, inner)] == [325 * 10**7, 225 * 10**7]
    assert stages(entry, {}, {}) == [Stage()]


def test_tensor_parallelism_divides_a_stage() -> None:
    two, four = (
        plan(
            {**MODEL, "layers": 60, "hidden_layers": 60},
            Host(100 * 10**9, 0.9, hosts),
            {"pipeline_parallel_size": 2, **more},
            {},
        )
        for hosts, more in ((2, {}), (4, {"tensor_parallel_size": 2}))
    )
    assert (two["weights_bytes"], four["weights_bytes"]) == (15 * 10**9, 75 * 10**8)
    assert two["kv_bytes_per_token"] == 2 * four["kv_bytes_per_token"]


@pytest.mark.parametrize(
    ("layers", "environment", "said"),
    [
        (
            2,
            {},
            "vllm_extra_args.pipeline_parallel_size: 3 is not allowed, because b has 2 layers, and each stage needs"
            " one; use fewer hosts",
        ),
        (
            61,
            {PARTITION: "30,31"},
            f'vllm_extra_env.{PARTITION}: "30,31" is not allowed; use the layers of each of the 3 stages, such as'
            ' "20,21,20", or remove it',
        ),
        (
            61,
            {PARTITION: "20,20,20"},
            f'vllm_extra_env.{PARTITION}: "20,20,20" is not allowed, because b has 61 layers, and not 60; use'
            ' "20,21,20"',
        ),
        (61, {PARTITION: "20,x,20"}, f'vllm_extra_env.{PARTITION}: "20,x,20" is not allowed; use the layers of each'),
        (61, {PARTITION: "9" * 5000 + ",1,1"}, f'vllm_extra_env.{PARTITION}: "999'),
        (61, {PARTITION: "61,0,0"}, f'vllm_extra_env.{PARTITION}: "61,0,0" is not allowed; use the layers of each'),
    ],
)
def test_what_cannot_be_divided(layers: int, environment: dict[str, str], said: str) -> None:
    with pytest.raises(ResolveError) as refused:
        group(
            3,
            model={**MODEL, "layers": layers, "hidden_layers": layers},
            pipeline_parallel_size=3,
            environment=environment,
        )
    assert str(refused.value).startswith(said)


def test_layers_with_states_are_layers_of_a_stage() -> None:
    """A hybrid has more than those with attention, and some that are not listed."""
    model = {**MODEL, "layers": 12, "state_layers": 36, "state_bytes": 10**6, "hidden_layers": 52}
    found = group(3, model=model, pipeline_parallel_size=3, environment={PARTITION: "18,18,16"}).plan
    assert found["kv_bytes_per_token"] == 5 * 2 * 8 * 128 * 2


ANY = {"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 100}
ANY |= {"max_position_embeddings": 4096}
BLOCKS = [{"attention": {"n_heads_in_group": 4, "no_op": layer % 2 == 1}, "ffn": {}} for layer in range(80)]
# By hand: a config.json, a division that vLLM takes, one that it refuses, and the most caches of a stage.
OF_OTHER_NUMBERS = {
    "40 blocks keep nothing": ({"num_hidden_layers": 80, "block_configs": BLOCKS}, "40,40", "20,20", 40),
    "the last 10 use what others keep": (
        {
            "model_type": "gemma3n_text",
            "num_hidden_layers": 30,
            "num_kv_shared_layers": 10,
            "sliding_window": 512,
            "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 6,
        },
        "15,15",
        "10,10",
        15 + 4,  # of windows, as if none were full; and the 4 full ones
    ),
    "each has attention twice": (
        {"model_type": "longcat_flash", "num_layers": 28, "kv_lora_rank": 32, "qk_rope_head_dim": 8},
        "14,14",
        "28,28",
        28,
    ),
    "each is run four times": (
        {"model_type": "ouro", "num_hidden_layers": 24, "total_ut_steps": 4, "layer_types": ["full_attention"] * 24},
        "12,12",
        "48,48",
        48,
    ),
    "each is run twice": ({"model_type": "iquestloopcoder", "num_hidden_layers": 24}, "12,12", "24,24", 24),
}


@pytest.mark.parametrize("name", OF_OTHER_NUMBERS)
def test_a_pipeline_divides_layers_and_not_caches(name: str) -> None:
    config, right, refused, most = OF_OTHER_NUMBERS[name]
    entry, _assumed = entry_of({**ANY, **config}, 10**9)
    args = {"pipeline_parallel_size": 2}
    assert problem({**entry, "name": "a"}, args, {PARTITION: right}) == ""
    total = sum(map(int, right.split(",")))
    assert f"because a has {total} layers" in problem({**entry, "name": "a"}, args, {PARTITION: refused})
    for environment in ({}, {PARTITION: right}):
        found = stages(entry, args, environment)
        assert {(each.layers, each.all_layers) for each in found} == {(total // 2, total)}
        kinds = [kind["layers"] for kind in entry.get("attention_kinds", [])]
        if entry.get("sliding_window") and not kinds:
            kinds = [entry["full_attention_layers"], entry["layers"] - entry["full_attention_layers"]]
        assert sum(map(found[0].of, kinds or [entry["layers"]])) == most


def test_without_the_number_of_layers_only_that_of_the_parts_is_known() -> None:
    entry = {"name": "a", "layers": 40}
    assert problem(entry, {"pipeline_parallel_size": 2}, {PARTITION: "50,30"}) == ""
    (first, last) = stages(entry, {"pipeline_parallel_size": 2}, {PARTITION: "50,30"})
    assert (first.of(40), last.of(40)) == (40, 30)
    assert "use the layers of each of the 2 stages, with commas, or remove it" in problem(
        entry, {"pipeline_parallel_size": 2}, {PARTITION: "80"}
    )
