# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rail of which link is slow, and which does not work."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.fabric import plan
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fabric
from fabrics import Facts, asked, cable, spark


@pytest.fixture(name="checks")
def _checks() -> list[Facts]:
    hosts = {"spark01": spark(1), "spark02": spark(2)}
    cable(hosts, (1, 0), (2, 0))
    for host in hosts.values():
        host["commands"] = {**host["commands"], "ib_write_bw": "/x", "ib_write_lat": "/x"}
    return plan(asked(hosts)).checks


def result(number: int, **more: t.Any) -> Facts:
    good = {"sent": 5, "large": 5, "small": 5, "rtt_ms": 0.21, "gbps": 92.6, "error": "", "answered_by": ""}
    return {"number": number, "latency_us": 2.1, **good, **more}


def test_two_good_rails(checks: list[Facts]) -> None:
    results = [result(0), result(1, gbps=97.3, answered_by="4c:bb:47:00:02:01")]
    assert (fabric.problems(checks, results), fabric.slow(checks, results)) == ([], [])
    assert fabric.table(checks, results).splitlines() == [
        "rail  from     to       interface      link   MTU    ms   us  Gb/s  by    verdict",
        "   0  spark01  spark02  enp1s0f0np0     200  1500  0.21  2.1  92.6  rdma  ok",
        "   1  spark01  spark02  enP2p1s0f0np0   200  1500  0.21  2.1  97.3  rdma  ok",
    ]


def test_the_slow_rail_is_named(checks: list[Facts]) -> None:
    results = [result(0), result(1, gbps=23.0)]
    (line,) = fabric.slow(checks, results)
    assert line == "spark01 to spark02, rail 1: slow: 80 Gb/s and more are expected of a rail"
    assert fabric.problems(checks, results) == []
    (line,) = fabric.slow(checks, [result(0, gbps=190.0), result(1)])
    assert line == "spark01 to spark02, rail 1: slow: the fastest link has 190.0 Gb/s"


def test_the_rail_whose_latency_is_out_of_line_is_named(checks: list[Facts]) -> None:
    (line,) = fabric.slow(checks, [result(0), result(1, latency_us=11.4)])
    assert line == "spark01 to spark02, rail 1: slow: its latency takes 11.4 us, and that of another 2.1 us"
    assert fabric.slow(checks, [result(0), result(1, latency_us=4.9)]) == []  # a switch more
    assert fabric.slow(checks, [result(0, latency_us=9.0), result(1, latency_us=11.4)]) == []
    for check in checks:
        check["method"] = "sockets"
    (line,) = fabric.slow(checks, [result(0), result(1, rtt_ms=3.1, latency_us=None)])
    assert line == "spark01 to spark02, rail 1: slow: its ping takes 3100.0 us, and that of another 210.0 us"
    assert fabric.slow(checks, [result(0, rtt_ms=0.05), result(1, rtt_ms=0.45)]) == []


def test_sockets_are_compared_with_sockets_only(checks: list[Facts]) -> None:
    checks[1]["method"] = "sockets"
    assert fabric.slow(checks, [result(0), result(1, gbps=12.0)]) == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({"large": 0, "small": 0}, "no answer from 192.168.101.2: is it the cable, or the other port?"),
        ({"large": 0}, "packets of 1500 bytes do not pass; set fabric_mtu for both ends and the switch alike"),
        ({"large": 4}, "1 of 5 packets of 1500 bytes were lost"),
        ({"latency_us": None, "error": "ib_write_lat: no result"}, "not measured: ib_write_lat: no result"),
        ({"gbps": None, "error": "TCP port 18601 of 192.168.101.2: timed out"}, "not measured: TCP port 18601 of"),
        (
            {"answered_by": "4c:bb:47:00:02:00"},
            "packets go to 4c:bb:47:00:02:00, which is not enP2p1s0f0np0 of spark02; set net.ipv4.conf",
        ),
    ],
)
def test_a_rail_that_does_not_work(checks: list[Facts], found: Facts, line: str) -> None:
    (problem,) = fabric.problems(checks, [result(0), result(1, **found)])
    assert problem.startswith(f"spark01 to spark02, rail 1: {line}")


def test_what_was_not_measured_does_not_work(checks: list[Facts]) -> None:
    assert fabric.problems(checks, [result(0)]) == [
        "spark01 to spark02, rail 1: not measured: spark01 did not get that far"
    ]
    assert fabric.table(checks, [result(0)]).splitlines()[2].split()[6:9] == ["-", "-", "-"]


@pytest.mark.parametrize("width", [80, 110])
def test_the_table_is_within_the_terminal(checks: list[Facts], width: int) -> None:
    results = [result(0), result(1, answered_by="4c:bb:47:00:02:00")]
    shown = fabric.table(checks, results, width)
    assert max(map(len, shown.splitlines())) <= width
    for words in ("rail", "spark02", "Gb/s", "92.6", "verdict", "net.ipv4.conf.all.arp_announce=2"):
        assert words in shown
    (problem,) = fabric.problems(checks, results)
    assert problem.split()[-1] in shown  # all of the verdict, wrapped
