# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory cap: the only one there is."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.share import comes_free_bytes, is_taken, share
from hypothesis import given
from hypothesis import strategies as st

from support.services import GIB, TOTAL, service, spark

BIG = service("vllm-big", 60 * GIB)


@pytest.mark.parametrize(
    ("host", "reserve", "cap"),
    [
        ({}, 10, 1.0),  # nobody has looked
        (spark(), 10, 0.91),
        (spark(), 0, 1.0),
        (spark(services=[BIG]), 10, 0.42),  # (121.7 - 10 - 60) / 121.7
        (spark(services=[BIG], listener={"container": "vllm-big-x"}), 10, 0.91),  # it gives up its port, and ends
        (spark(services=[BIG], listener={"container": None}), 10, 0.42),
        (spark(services=[service("vllm", 60 * GIB)]), 10, 0.91),  # our own
        (spark(services=[service("vllm-new", None)]), 10, 0.91),  # nobody knows what it holds
        (spark(services=[service("vllm-big", 120 * GIB)]), 10, 0.01),  # the plan says that it does not fit
        (spark(services=[BIG], memory={"total_bytes": 8 * GIB}), 10, -0.25),  # the reserve alone is too much
    ],
)
def test_the_cap(host: dict[str, t.Any], reserve: float, cap: float) -> None:
    found = share(host, "vllm", 0.9, reserve)
    assert found.cap == cap
    assert found.utilization == min(0.9, cap)
    assert found.is_capped is (cap < 0.9)


def test_what_the_cap_is_made_of() -> None:
    assert share(spark(), "vllm", 0.9, 10).capped_by == "121.7 GiB, less 10 GiB of vllm_memory_reserve_gib"
    found = share(spark(services=[BIG, service("b", GIB)]), "vllm", 0.9, 4.5)
    assert (
        found.capped_by
        == "121.7 GiB, less 4.5 GiB of vllm_memory_reserve_gib, less 60.0 GiB of vllm-big, less 1.0 GiB of b"
    )


@given(st.integers(GIB, 2**40), st.floats(0, 100), st.lists(st.integers(1, 2**38), max_size=3), st.floats(0.01, 0.95))
def test_the_share_leaves_the_reserve_and_the_others_alone(
    total: int, reserve: float, others: list[int], wish: float
) -> None:
    services = [service(f"other-{number}", planned) for number, planned in enumerate(others)]
    found = share({"memory": {"total_bytes": total}, "services": services}, "vllm", wish, reserve)
    assert found.utilization <= wish
    left = total - reserve * GIB - sum(others)
    assert found.utilization * total <= max(left, 0.01 * total) + 1 or (not others and left <= 0)


@pytest.mark.parametrize(
    ("host", "needed", "taken"),
    [
        (spark(), 110 * GIB, False),
        (spark(112 * GIB), 110 * GIB, False),
        (spark(109 * GIB), 110 * GIB, False),  # what is missing by a little may be there at the start
        (spark(90 * GIB), 110 * GIB, True),
        (spark(0), 110 * GIB, False),  # nobody knows
        ({}, 110 * GIB, False),
        (spark(8 * GIB, services=[service("vllm", 104 * GIB)]), 110 * GIB, False),  # ours comes back
        (spark(8 * GIB, services=[service("vllm", 60 * GIB)]), 110 * GIB, True),
        (spark(8 * GIB, services=[service("vllm", None)]), 110 * GIB, False),  # all of it may be ours
        (spark(90 * GIB, services=[service("other", 104 * GIB)]), 110 * GIB, True),
    ],
)
def test_memory_that_something_else_uses(host: dict[str, t.Any], needed: int, taken: bool) -> None:
    assert is_taken(host, "vllm", needed) is taken


def test_no_more_comes_back_than_there_is() -> None:
    assert comes_free_bytes(spark(100 * GIB, services=[service("vllm", 60 * GIB)]), "vllm") == TOTAL
