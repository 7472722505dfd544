# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurements of a fabric mean: which link is slow, and which does not work. Pure."""

from __future__ import annotations

import typing as t
from operator import itemgetter

from .._common.table import Column, fitting
from .._common.table import table as text_table

Facts = t.Mapping[str, t.Any]

# Published for the two rails of one cable: 92.6 and 97.3 Gb/s by ib_write_bw.
RDMA_GBPS = 80.0
# Of the fastest link that was measured in the same way. TCP depends on the processors, too.
SHARE = {"rdma": 0.8, "sockets": 0.5}
# No latency is slow up to so many microseconds, and so many times the lowest. A ping waits for the processors, too.
UNSUSPICIOUS_US = {"rdma": 5.0, "sockets": 500.0}
TIMES = {"rdma": 2.0, "sockets": 3.0}

WIDTH = 160
_TITLES = ("rail", "from", "to", "interface", "link", "MTU", "ms", "us", "Gb/s", "by", "verdict")
_LEFT = ("from", "to", "interface", "by", "verdict")
_WIDE = ("interface",)
# What a narrow terminal does without, the first one first.
_DROPPED = ("MTU", "link", "by", "us", "ms", "interface")


_COLUMNS = tuple(
    Column(title, itemgetter(title), title not in _LEFT, may_shrink=title in _WIDE, wraps=title == "verdict")
    for title in _TITLES
)


class Best(t.NamedTuple):
    """Of the links that were measured in the same way."""

    gbps: float
    latency_us: float


class Verdict(t.NamedTuple):
    works: bool
    is_slow: bool
    text: str


def verdict(check: Facts, result: Facts | None, best: Best) -> Verdict:
    client, server = check["client"], check["server"]
    if result is None:
        return Verdict(False, False, f"not measured: {client['host']} did not get that far")
    if not result["small"]:
        return Verdict(False, False, f"no answer from {server['address']}: is it the cable, or the other port?")
    if result["large"] < result["sent"]:
        if not result["large"]:
            why = f"packets of {check['mtu']} bytes do not pass; set fabric_mtu for both ends and the switch alike"
        else:
            why = f"{result['sent'] - result['large']} of {result['sent']} packets of {check['mtu']} bytes were lost"
        return Verdict(False, False, why)
    if result["answered_by"] and server["mac"] and result["answered_by"] != server["mac"]:
        return Verdict(
            False,
            False,
            f"packets go to {result['answered_by']}, which is not {server['interface']} of {server['host']}; set"
            f" net.ipv4.conf.all.arp_ignore=1 and net.ipv4.conf.all.arp_announce=2 on {server['host']}",
        )
    latency = _latency_us(check, result)
    if result["gbps"] is None or latency is None:
        return Verdict(False, False, f"not measured: {result['error']}")
    return _speed(check["method"], result["gbps"], latency, best)


def _latency_us(check: Facts, result: Facts) -> float | None:
    """By RDMA, or the round trip of a ping."""
    if check["method"] == "rdma" or result["rtt_ms"] is None:
        return t.cast("float | None", result["latency_us"])
    return float(result["rtt_ms"] * 1000)


def _speed(method: str, gbps: float, latency: float, best: Best) -> Verdict:
    if method == "rdma" and gbps < RDMA_GBPS:
        return Verdict(True, True, f"slow: {RDMA_GBPS:.0f} Gb/s and more are expected of a rail")
    if gbps < SHARE[method] * best.gbps:
        return Verdict(True, True, f"slow: the fastest link has {best.gbps:.1f} Gb/s")
    if latency > max(UNSUSPICIOUS_US[method], TIMES[method] * best.latency_us):
        what = "latency" if method == "rdma" else "ping"
        return Verdict(
            True, True, f"slow: its {what} takes {latency:.1f} us, and that of another {best.latency_us:.1f} us"
        )
    return Verdict(True, False, "ok")


def verdicts(checks: t.Sequence[Facts], results: t.Sequence[Facts]) -> list[Verdict]:
    found = {result["number"]: result for result in results}

    def best(method: str) -> Best:
        pairs = [
            (each, found[each["number"]]) for each in checks if each["method"] == method and each["number"] in found
        ]
        latencies = [latency for latency in (_latency_us(*pair) for pair in pairs) if latency is not None]
        return Best(max((result["gbps"] or 0.0 for _check, result in pairs), default=0.0), min(latencies, default=0.0))

    return [verdict(check, found.get(check["number"]), best(check["method"])) for check in checks]


def problems(checks: t.Sequence[Facts], results: t.Sequence[Facts]) -> list[str]:
    """One line for each rail of a link that does not work."""
    return [f"{_name(check)}: {each.text}" for check, each in _pairs(checks, results) if not each.works]


def slow(checks: t.Sequence[Facts], results: t.Sequence[Facts]) -> list[str]:
    """One line for each rail of a link that is slow."""
    return [f"{_name(check)}: {each.text}" for check, each in _pairs(checks, results) if each.is_slow]


def _pairs(checks: t.Sequence[Facts], results: t.Sequence[Facts]) -> list[tuple[Facts, Verdict]]:
    return list(zip(checks, verdicts(checks, results), strict=True))


def _name(check: Facts) -> str:
    return f"{check['client']['host']} to {check['server']['host']}, rail {check['rail']}"


def table(checks: t.Sequence[Facts], results: t.Sequence[Facts], width: int = WIDTH) -> str:
    found = {result["number"]: result for result in results}
    rows = []
    for check, each in _pairs(checks, results):
        result = found.get(check["number"], {})
        rows.append(
            {
                "rail": str(check["rail"]),
                "from": check["client"]["host"],
                "to": check["server"]["host"],
                "interface": check["client"]["interface"],
                "link": _number((check["client"]["speed_mbps"] or 0) / 1000 or None, 0),
                "MTU": str(check["mtu"]),
                "ms": _number(result.get("rtt_ms"), 2),
                "us": _number(result.get("latency_us"), 1),
                "Gb/s": _number(result.get("gbps"), 1),
                "by": check["method"],
                "verdict": each.text,
            }
        )
    return text_table(rows, fitting(rows, _COLUMNS, _DROPPED, width), width)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
