# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of hosts in words, from what vllm_releases_info returns."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.releases import date, rows, table, verdict

from support.fleet import sixteen


def test_the_rows_of_a_host() -> None:
    current, previous, staged = rows(sixteen().releases["spark01"])
    assert current == {
        "release": "3f1c9a0b7d2e",
        "model": "Qwen/Qwen3-8B-FP8",
        "profile": "throughput",
        "image": "nvcr.io/nvidia/vllm:25.09-py3",
        "staged": "2026-11-23 12:30 UTC",
        "proven": "2026-11-23 12:55 UTC",
        "verdict": "current",
        "current": True,
    }
    assert (previous["verdict"], previous["profile"]) == ("good; rollback.yml returns to it", "latency")
    assert (staged["verdict"], staged["proven"]) == ("staged, or failed", None)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        ({"id": "a", "good": 1.0}, "current"),
        ({"id": "a", "good": None}, "current, not proven"),
        ({"id": "b", "good": 1.0}, "good; rollback.yml returns to it"),
        ({"id": "c", "good": 1.0}, "good"),
        ({"id": "c", "good": None}, "staged, or failed"),
    ],
)
def test_the_state_of_a_release(one: dict[str, t.Any], words: str) -> None:
    assert verdict(one, current="a", previous="b") == words


@pytest.mark.parametrize("wrong", [None, "soon", 1e17, float("nan"), [], True])
def test_a_time_that_is_none(wrong: t.Any) -> None:
    assert date(wrong) is None


def test_the_table_of_hosts() -> None:
    read = {"a": sixteen().releases["spark01"], "b": {}, "c": {"unreachable": True}}
    head, *lines = table(read, {"c": "no route\x1b[31m to host"}).splitlines()
    assert head.split() == ["host", "release", "verdict", "model", "profile", "image", "staged", "proven"]
    assert [line.split()[0] for line in lines] == ["a", "a", "a", "b", "c"]
    assert "2026-11-23 12:30 UTC  2026-11-23 12:55 UTC" in lines[0]
    assert lines[3].split()[1:3] == ["-", "none"]
    assert lines[4].startswith("c     -             not read: no route to host")
