# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both halves of a port of the ConnectX-7, as a pair of Sparks uses them or does not."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import Node, Nodes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.twins import is_used

from support.services import CATALOG, resolved, spark, values

PAIR = {"vllm_nodes": ["spark01", "spark02"], "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"}
MEMBERS = Nodes((Node("spark01", "192.168.100.1"), Node("spark02", "192.168.100.2")), 0)
CABLED = {"enp1s0f0np0": "192.168.100.1", "enP2p1s0f0np0": "192.168.101.1"}


def host(
    addresses: t.Mapping[str, str],
    without_carrier: t.Container[str] = (),
    cabled: t.Container[int] = (0,),
    **more: t.Any,
) -> dict[str, t.Any]:
    """A Spark with a cable in port 0."""
    ports = [
        {
            "name": f"en{half[4:]}s0f{number}np{number}",
            "port": number,
            "rail": rail,
            "device": f"{half}s0f{number}",
            "carrier": number in cabled and f"en{half[4:]}s0f{number}np{number}" not in without_carrier,
        }
        for number in (0, 1)
        for rail, half in enumerate(("rocep1", "roceP2p1"))
    ]
    interfaces = [{"name": name, "addresses": [address]} for name, address in addresses.items()]
    found = {"is_spark": True, "infiniband": ["uverbs0"], "interfaces": interfaces, "connectx7": ports}
    return spark(**{**found, **more})


def said(read: t.Mapping[str, t.Any], **variables: t.Any) -> list[str]:
    found = resolve(values(**PAIR, **variables), CATALOG, read, members=MEMBERS)
    return [f"{fault['what']}. {fault['remedy']}" for fault in found.host_faults]


def test_both_halves_with_carrier_and_address_are_fine() -> None:
    assert said(host(CABLED)) == []


@pytest.mark.parametrize(
    ("read", "lacks", "where"),
    [
        (host({"enp1s0f0np0": "192.168.100.1"}), "no IPv4 address", "enP2p1s0f0np0, the other half of enp1s0f0np0"),
        (host({"enP2p1s0f0np0": "192.168.100.1"}), "no IPv4 address", "enp1s0f0np0, the other half of enP2p1s0f0np0"),
        (host(CABLED, ["enP2p1s0f0np0"]), "no carrier", "enP2p1s0f0np0, the other half of enp1s0f0np0"),
    ],
)
def test_a_half_that_is_not_connected_is_said(read: dict[str, t.Any], lacks: str, where: str) -> None:
    assert said(read) == [
        f"{lacks} on {where} (port 0 of the ConnectX-7), so half of the bandwidth between the hosts of vllm_nodes is"
        " lost. Check the cable and run playbooks/fabric.yml, which gives both halves their addresses"
    ]


@pytest.mark.parametrize("value", ["rocep1s0f0", "=rocep1s0f0:1", "rocep1s0f0,rocep1s0f1", "^roceP2p1s0f0", "rocep"])
def test_devices_without_one_half_are_said(value: str) -> None:
    (line,) = said(host(CABLED), vllm_extra_env={"NCCL_IB_HCA": value})
    assert line == (
        f"NCCL_IB_HCA={value} in the environment of vLLM, which leaves out one half of port 0 of the ConnectX-7"
        " (roceP2p1s0f0) and half of the bandwidth. Remove NCCL_IB_HCA from vllm_extra_env, or name rocep1s0f0 and"
        " roceP2p1s0f0"
    )


@pytest.mark.parametrize(
    "value", ["", "roce", "rocep1s0f0,roceP2p1s0f0", "=roceP2p1s0f0:1,rocep1s0f0:1", "^mlx5_0", "x"]
)
def test_devices_with_both_halves_or_of_another_adapter_are_not(value: str) -> None:
    assert said(host(CABLED), vllm_extra_env={"NCCL_IB_HCA": value}) == []


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("rocep1s0f0,roceP2p1s0f1", []),  # one half of each, on both paths
        ("roceP2p1s0f0,rocep1s0f1", []),
        ("rocep1s0f0,rocep1s0f1", [0, 1]),
        ("roceP2p1", [0, 1]),
        ("rocep1s0f1", [1]),
    ],
)
def test_with_two_cables_both_paths_count(value: str, ports: list[int]) -> None:
    found = said(host(CABLED, cabled=(0, 1)), vllm_extra_env={"NCCL_IB_HCA": value})
    assert [line.split("half of port ")[1][0] for line in found if "NCCL_IB_HCA" in line] == [*map(str, ports)]


def test_a_half_without_a_cable_is_no_path() -> None:
    (line,) = said(host(CABLED), vllm_extra_env={"NCCL_IB_HCA": "rocep1s0f0,roceP2p1s0f1"})
    assert "leaves out one half of port 0" in line


def test_nothing_of_another_machine_or_a_host_alone_or_one_that_was_not_read() -> None:
    half = {"enp1s0f0np0": "192.168.100.1"}
    assert said(host(half, is_spark=False)) == []
    assert said({}) == []
    assert said(host({"enP7s7": "192.168.100.1"})) == []
    assert resolved(host(half), vllm_extra_env={"NCCL_IB_HCA": "rocep1s0f0"}).host_faults == []


def test_a_list_that_names_nothing_excludes_nothing() -> None:
    assert is_used("^", "rocep1s0f0")
    assert not is_used("^=rocep1s0f0", "rocep1s0f0")
    assert is_used("^=rocep1s0f", "rocep1s0f0")
