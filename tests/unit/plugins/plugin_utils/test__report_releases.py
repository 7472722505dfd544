# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of hosts in words, from what vllm_releases_info returns."""

from __future__ import annotations

import re
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
    assert (staged["verdict"], staged["proven"]) == ("staged, not started", None)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        ({"id": "a", "good": 1.0}, "current"),
        ({"id": "a", "good": None}, "current, not proven"),
        ({"id": "b", "good": 1.0}, "good; rollback.yml returns to it"),
        ({"id": "c", "good": 1.0}, "good"),
        ({"id": "c", "good": None, "started": None, "facts": {"starts_are_recorded": True}}, "staged, not started"),
        ({"id": "c", "good": None, "started": 1.0, "facts": {}}, "started, never proven"),
        ({"id": "c", "good": 1.0, "started": 2.0}, "good"),
        ({"id": "a", "good": None, "started": 1.0}, "current, not proven"),
        # of an older version, which did not record the starts
        ({"id": "c", "good": None}, "staged, or failed"),
        ({"id": "c", "good": None, "started": None, "facts": {"starts_are_recorded": "yes"}}, "staged, or failed"),
    ],
)
def test_the_state_of_a_release(one: dict[str, t.Any], words: str) -> None:
    assert verdict(one, current="a", previous="b") == words


@pytest.mark.parametrize("wrong", [None, "soon", 1e17, float("nan"), [], True])
def test_a_time_that_is_none(wrong: t.Any) -> None:
    assert date(wrong) is None


SAID = "Failed to connect to the host via ssh: ssh: connect to host 10.0.0.9 port 22: no route to host"
LOST = f"Task failed: {SAID}".replace("route", "route\x1b[31m")


def test_the_table_of_hosts() -> None:
    read = {"a": sixteen().releases["spark01"], "b": {}, "c": {"unreachable": True}}
    rows_, said = table(read, {"c": LOST}).split("\n\n")
    head, *lines = rows_.splitlines()
    assert head.split() == ["host", "release", "verdict", "model", "profile", "image", "staged", "proven"]
    assert [line.split()[0] for line in lines] == ["a", "a", "a", "b", "c"]
    assert "2026-11-23 12:30 UTC  2026-11-23 12:55 UTC" in lines[0]
    assert lines[3].split()[1:3] == ["-", "none"]
    assert re.split(" {2,}", lines[4])[:3] == ["c", "-", "not read"]
    assert said == f"c | not read: {SAID}"


@pytest.mark.parametrize("width", [60, 80, 110, 160])
def test_a_host_that_cannot_be_read_makes_no_line_wider(width: int) -> None:
    read = {"spark01": sixteen().releases["spark01"], "spark02": {"unreachable": True}}
    text = table(read, {"spark02": LOST}, width, wraps=True)
    assert all(len(line) <= max(width, 72) for line in text.splitlines()), text
    assert "3f1c9a0b7d2e  current" in text
    assert "Qwen/Qwen3-8B-FP8" in text or width < 80
    # nothing is lost of what is said below, and no word is broken
    assert " ".join(text.partition("\n\n")[2].split()) == f"spark02 | not read: {SAID}"
