# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drivers and clocks of hosts that serve one model together."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.ranks import differences


def read(driver: str | None = None, clock: tuple[float, float] | None = None) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"spark": {"gpu": {"driver": driver} if driver else None}}
    return {**found, "clock": {"least": clock[0], "most": clock[1]}} if clock else found


@pytest.mark.parametrize(
    "hosts",
    [
        {},
        {"a": {}, "b": read("580.95.05", (0, 1))},
        {"a": read("580.95.05", (-2.0, 1.5)), "b": read("580.95.05", (6.0, 9.0))},  # certain are 4.5 s
        {"a": read(None, (0.0, 9.0)), "b": read("580.95.05")},
        {"a": read(clock=(-1.0, 60.0)), "b": read(clock=(50.0, 51.0))},  # a host that took a minute
    ],
)
def test_nothing_is_said_of_hosts_that_agree_or_were_not_read(hosts: dict[str, t.Any]) -> None:
    assert differences(hosts) == []


def test_different_drivers_are_said_with_their_hosts() -> None:
    hosts = {"a": read("580.95.05"), "b": read("590.1"), "c": read("580.95.05")}
    assert differences(hosts) == [
        "the GPU drivers of hosts that serve one model together differ: 580.95.05 on a, c; 590.1 on b. Bring them to"
        " the same release of DGX OS, with playbooks/maintain.yml"
    ]


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a")])
def test_the_clocks_that_are_farthest_apart_are_said(names: tuple[str, ...]) -> None:
    clocks = {"a": (-1.0, 1.0), "b": (-60.0, -58.5), "c": (-20.0, -19.0)}
    assert differences({name: read(clock=clocks[name]) for name in names}) == [
        "the clock of b is at least 58 s behind that of a, and they serve one model together; `timedatectl` on both"
        " shows whether NTP answers"
    ]
