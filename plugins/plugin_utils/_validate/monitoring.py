# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role monitoring. One line for each problem."""

from __future__ import annotations

import re

from .._catalog.catalog import Catalog
from .._common.addresses import ANY_ADDRESS, is_ipv4
from .._common.text import show
from .._common.types import TypedValues
from .common import PORT, Lines, matches

# Bounds of the buckets of vLLM's histograms, the same in 0.10, 0.24 and 0.32 (their /metrics). Between two of them a
# quantile is an estimate.
TTFT_BOUNDS = (0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0)
INTER_TOKEN_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)

_WEBHOOK = rf"https?://([^\s/@]+@)?([^\s/:@]+|\[[0-9a-fA-F:]+\])(:{PORT})?([/?]\S*)?"


def monitoring(checked: TypedValues, catalog: Catalog) -> Lines:
    name = "monitoring_interval"
    if checked.valid(name) and not 5 <= checked[name] <= 60:
        yield f"{name}: {show(checked[name])} is not allowed; use 5 to 60 seconds"
    for name in ("monitoring_node_exporter_port", "monitoring_prometheus_port"):
        if checked.valid(name) and not 1024 <= checked[name] <= 65535:
            yield f"{name}: {show(checked[name])} is not allowed; use a port from 1024 to 65535"
    for name, example, *wrong in (
        ("monitoring_address", "192.168.1.41", ANY_ADDRESS),  # no one reaches a host there
        ("monitoring_prometheus_address", "127.0.0.1"),
    ):
        is_empty = name == "monitoring_address" and checked[name] == ""  # ansible_host
        if checked.valid(name) and not is_empty and (not is_ipv4(checked[name]) or checked[name] in wrong):
            yield f"{name}: {show(checked[name])} is not allowed; use an IPv4 address such as {example}"
    yield from matches(
        checked, "monitoring_retention", r"[1-9]\d{0,4}[hdwy]", "a number with h, d, w or y, such as 30d"
    )
    for entry in checked["monitoring_alertmanagers"] if checked.valid("monitoring_alertmanagers") else []:
        if not re.fullmatch(rf"[A-Za-z0-9.-]+:{PORT}", str(entry)):
            yield f"monitoring_alertmanagers: {show(entry)} is not allowed; use host:port, such as 192.168.1.5:9093"
    name = "monitoring_webhook"  # its value may be a secret
    if checked.valid(name) and checked[name] and not re.fullmatch(_WEBHOOK, checked[name]):
        yield f"{name}: is no address; use one such as https://chat.example.com/hooks/alerts"
    yield from _bound(checked, "monitoring_ttft_seconds", TTFT_BOUNDS)
    yield from _bound(checked, "monitoring_inter_token_seconds", INTER_TOKEN_BOUNDS)


def _bound(checked: TypedValues, name: str, bounds: tuple[float, ...]) -> Lines:
    if checked.valid(name) and checked[name] not in bounds:
        allowed = ", ".join(map(str, bounds))
        yield f"{name}: {show(checked[name])} is not allowed; use a bound of vLLM's buckets: {allowed}"
