# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model together, over the inventory. The rules for one host are in bad_inputs.py."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.nodes import LOST, SAME, Member, groups
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems

from support.services import CATALOG, KNOWN, values

PAIR = ["a", "b"]


def member(host: str, nodes: t.Sequence[str] = (), **more: t.Any) -> Member:
    own = {"vllm_nodes": list(nodes), "vllm_node_address": f"192.0.2.{ord(host[0])}", **more}
    return Member(host, values(**own))


def lines(*members: Member, play: str = "abcd", whole: bool = True) -> list[str]:
    by_name = {each.host: each for each in members}
    return list(groups(by_name, [host for host in by_name if host in play], by_name, whole))


def test_a_fleet_of_pairs_and_single_hosts_is_fine() -> None:
    assert lines(member("a", PAIR), member("b", PAIR), member("c"), member("d")) == []
    assert lines(member("a"), member("b")) == []


@pytest.mark.parametrize(
    ("members", "line"),
    [
        (
            [member("a", PAIR), member("b")],
            "vllm_nodes: b serves in [a, b] of a, and its own value is []; a host serves in one group: set the same"
            " list on all of its hosts",
        ),
        (
            [member("a", PAIR), member("b", ["b", "c"]), member("c", ["b", "c"])],
            "vllm_nodes: b serves in [a, b] of a, and its own value is [b, c]; a host serves in one group: set the same"
            " list on all of its hosts",
        ),
        (
            [member("a", ["a", "x"])],
            'vllm_nodes: "x" of [a, x] is not in the inventory; correct the name',
        ),
        (
            [member("a", PAIR), member("b", PAIR), member("c", PAIR)],
            "vllm_nodes: [a, b] of c does not name c; add it, or set [] for it",
        ),
        (
            [member("a", PAIR), member("b", PAIR, vllm_node_address=f"192.0.2.{ord('a')}")],
            'vllm_node_address: "192.0.2.97" is that of a and of b; give each host its own',
        ),
        *(
            (
                [member("a", PAIR), member("b", PAIR, **{name: value})],
                f"{name}: {shown}, and both serve one model together; set the same on all hosts of vllm_nodes",
            )
            for name, value, shown in (
                ("vllm_model", "gpt-oss-20b", '"gpt-oss-20b" of b differs from "qwen3-8b-fp8" of a'),
                ("vllm_image", "x/y:1", '"x/y:1" of b differs from "" of a'),
                ("vllm_profile", "latency", '"latency" of b differs from "throughput" of a'),
                ("vllm_port", 8001, "8001 of b differs from 8000 of a"),
                ("vllm_master_port", 2000, "2000 of b differs from 29501 of a"),
                ("vllm_service_name", "vllm-b", '"vllm-b" of b differs from "vllm" of a'),
                ("vllm_models", {"qwen3-8b-fp8": {"revision": "x"}}, "a mapping of b differs from a mapping of a"),
                ("vllm_extra_args", {"seed": 1}, "a mapping of b differs from a mapping of a"),
                ("vllm_api_key", "correct-horse-battery-staple", "that of b differs from that of a"),
            )
        ),
    ],
)
def test_refused_with_one_line(members: list[Member], line: str) -> None:
    assert lines(*members) == [line]


@pytest.mark.parametrize(
    ("head", "worker", "line"),
    [
        ({"VLLM_USE_DEEP_GEMM": 0}, {"VLLM_USE_DEEP_GEMM": "0"}, ""),
        ({"NCCL_ALGO": "Ring"}, {"NCCL_ALGO": "Tree"}, 'NCCL_ALGO: "Tree" of b differs from "Ring" of a'),
        ({"NCCL_ALGO": "Ring"}, {}, 'NCCL_ALGO: none of b differs from "Ring" of a'),
        ({}, {"NCCL_IB_DISABLE": 1}, "NCCL_IB_DISABLE: 1 of b differs from none of a"),
        ({}, {"MY_TOKEN": "abc"}, "MY_TOKEN: that of b differs from that of a"),
        ({"NCCL_DEBUG": "INFO"}, {}, 'NCCL_DEBUG: none of b differs from "INFO" of a'),
        ({"MY_http_proxy": "a"}, {}, 'MY_http_proxy: none of b differs from "a" of a'),
        ({"A": "http://u:pw@proxy"}, {}, "A: that of b differs from that of a"),
        *(
            ({name: "one"}, {name: "other"}, "")
            for name in (
                *("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "NCCL_IB_HCA", "VLLM_HOST_IP"),
                *("HOST_IP", "UCX_NET_DEVICES", "OMPI_MCA_btl_tcp_if_include"),
                *("http_proxy", "HTTPS_PROXY", "no_proxy", "ALL_PROXY", "OTEL_RESOURCE_ATTRIBUTES"),
                *("VLLM_LOGGING_LEVEL", "NCCL_DEBUG_FILE", "NCCL_TOPO_FILE"),
            )
        ),
    ],
)
def test_the_environment_is_the_same_but_for_what_names_the_host(
    head: dict[str, t.Any], worker: dict[str, t.Any], line: str
) -> None:
    found = lines(member("a", PAIR, vllm_extra_env=head), member("b", PAIR, vllm_extra_env=worker))
    end = ", and both serve one model together; set the same on all hosts of vllm_nodes"
    assert found == ([f"vllm_extra_env.{line}{end}"] if line else [])


def test_what_is_done_to_one_is_done_to_all() -> None:
    pair = member("a", PAIR), member("b", PAIR), member("c")
    for here, other in (("a", "b"), ("b", "a")):
        assert lines(*pair, play=here) == [
            f"vllm_nodes: {here} serves together with {other}; run it on all of them: -l a,b; {LOST}"
        ]
        assert lines(*pair, play=here, whole=False) == []
    assert lines(*pair, play="c") == []


def test_what_a_host_says_itself_is_not_said_twice() -> None:
    pair = member("a", PAIR), member("b", PAIR, vllm_node_address="")
    assert lines(*pair) == []
    assert lines(*pair, play="a", whole=False) == [
        "vllm_node_address: of b is empty; set it to its address between the hosts of vllm_nodes"
    ]
    assert lines(member("a", ["a", "a"])) == []


def test_of_units_outside_of_the_play_nothing_is_said() -> None:
    assert lines(member("a", ["a", "x"]), member("c"), play="c") == []


def test_what_must_be_the_same_are_variables_of_the_role() -> None:
    assert set(SAME) <= set(KNOWN)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"vllm_extra_args": {"pipeline_parallel_size": 2}},
        {"vllm_extra_args": {"tensor_parallel_size": 2, "pipeline_parallel_size": 1}},
        {"vllm_image": "vllm/vllm-openai:v0.20.0-cu130", "vllm_image_allow": ["avoid"]},
        {"vllm_extra_env": {"NCCL_SOCKET_IFNAME": "eth1"}},
        {"vllm_extra_env": {"VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "/tmp/tuned"}},  # gone with the container
        {"vllm_extra_env": {"VLLM_CACHE_ROOT": "/root/.cache/vllm/"}},
    ],
)
def test_allowed(more: dict[str, t.Any]) -> None:
    given = {"vllm_nodes": PAIR, "vllm_node_address": "192.168.100.1", "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}
    assert problems("vllm", {**given, **more}, KNOWN, CATALOG) == []


def test_a_model_that_only_together_fits() -> None:
    given = {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131072}
    pair = {"vllm_nodes": PAIR, "vllm_node_address": "192.168.100.1", "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}
    (alone,) = problems("vllm", given, KNOWN, CATALOG)
    assert "does not fit into the memory of a Spark" in alone
    assert problems("vllm", {**given, **pair}, KNOWN, CATALOG) == []
