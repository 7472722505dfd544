# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two services of one machine are in no batch together."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.batches import batches

SIZES = ["1", "25%", "100%"]


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        ("abcdefgh", SIZES),  # as Ansible does it
        ("", SIZES),
        ("aaa", ["1", "1", "1"]),
        ("aba", ["1", "1", "1"]),
        ("abcdefghabcdefgh", ["1", "4", "8", "3"]),
        ("abcdabcdabcd", ["1", "3", "4", "4"]),
    ],
)
def test_batches(machines: str, expected: list[str]) -> None:
    assert batches([{machine} for machine in machines], SIZES) == expected


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([{"a", "b"}, set(), {"c"}, {"d"}], ["2", "1", "1"]),  # a pair is the canary, a quarter of three is one
        ([set(), {"a", "b"}], ["2"]),  # a worker that comes before its head
        ([{"c"}, {"a", "b"}, set(), {"b"}, {"d"}], ["1", "2", "2"]),  # another service of the worker's machine
        ([{"c"}, {"b"}, {"a", "b"}, set()], ["1", "1", "2"]),
    ],
)
def test_hosts_that_serve_together(hosts: list[set[str]], expected: list[str]) -> None:
    assert batches(hosts, SIZES) == expected
