# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services of one host that vllm_services does not list: one that comes later changes none that was there before."""

from __future__ import annotations

import typing as t

from hypothesis import given, settings
from hypothesis import strategies as st

from support.services import GIB, TOTAL, resolved, service, spark

# vLLM's CPU build: the size of its KV cache is given, and its share of the memory is a mere number
ON_CPU: dict[str, t.Any] = {
    "vllm_gpu": "none",
    "vllm_extra_env": {"VLLM_CPU_KVCACHE_SPACE": "1"},
    "vllm_models": {"qwen3-8b-fp8": {"weights_bytes": 112840384, "layers": 2, "kv_heads": 2, "head_dim": 32}},
}
SMALL = {"total_bytes": int(23.5 * GIB), "available_bytes": 20 * GIB}
# One that fits into any share of this test.
TINY = {
    "tiny": {"id": "a/tiny", "weights_bytes": 10**6, "layers": 1, "kv_heads": 1, "head_dim": 16, "native_context": 9}
}


def held(name: str, found: t.Any) -> dict[str, t.Any]:
    """What the host says of a service that runs."""
    return service(name, found.plan["needed_bytes"])


def test_a_share_that_fits_beside_a_neighbor_stays() -> None:
    alone = resolved(spark(memory=SMALL), **ON_CPU)
    assert (alone.utilization, alone.capped_by) == (0.57, "23.5 GiB, less 10 GiB of vllm_memory_reserve_gib")
    first = held("vllm", alone)
    two = resolved(spark(memory=SMALL, services=[first]), vllm_service_name="vllm-two", vllm_port=8001, **ON_CPU)
    assert two.plan["fits"]
    again = resolved(spark(memory=SMALL, services=[first, held("vllm-two", two)]), **ON_CPU)
    assert (again.argv, again.lines, again.plan) == (alone.argv, alone.lines, alone.plan)
    assert [each["service"] for each in again.other_services] == ["vllm-two"]


def test_who_makes_a_share_smaller_is_named() -> None:
    full = spark(memory=SMALL, services=[service("vllm-a", 6 * GIB), service("vllm-b", 5 * GIB)])
    found = resolved(full, **ON_CPU)
    assert found.utilization == 0.1
    assert found.capped_by.endswith("of vllm_memory_reserve_gib, less 6.0 GiB of vllm-a, less 5.0 GiB of vllm-b")
    assert not found.plan["fits"]


def test_one_for_which_nothing_is_left_is_refused_with_who_holds_what() -> None:
    """Also a model that would fit into the smallest share there is: that share is not there."""
    tiny = {"vllm_model": "tiny", "vllm_models": TINY, "vllm_max_model_len": 8, "vllm_service_name": "vllm-two"}
    full = spark(services=[service("vllm", int(109.5 * GIB)), service("vllm-b", 2 * GIB)])
    found = resolved(full, vllm_port=8001, **tiny)
    assert found.budget_problem == (
        "nothing is left for vllm-two: this host has 121.7 GiB, less 10 GiB of vllm_memory_reserve_gib,"
        " less 109.5 GiB of vllm, less 2.0 GiB of vllm-b; give vllm, vllm-b less"
    )
    assert resolved(spark(services=[service("vllm", 100 * GIB)]), vllm_port=8001, **tiny).budget_problem == ""


def test_a_share_of_three_digits_that_fits_is_not_rounded() -> None:
    neighbor = service("vllm-two", int(0.3421 * TOTAL))
    found = resolved(spark(services=[neighbor]), vllm_gpu_memory_utilization=0.575)
    assert (found.utilization, found.capped_by) == (0.575, "121.7 GiB, less 10 GiB of vllm_memory_reserve_gib")
    assert resolved(spark(services=[neighbor]), vllm_gpu_memory_utilization=0.576).utilization == 0.57


@settings(max_examples=60, deadline=None)
@given(st.integers(20 * GIB, 2**40), st.lists(st.integers(10, 950), min_size=2, max_size=4), st.integers(0, 12))
def test_a_service_that_comes_later_changes_none(total: int, wishes: list[int], reserve_gib: int) -> None:
    def deployed(number: int, running: list[dict[str, t.Any]]) -> t.Any:
        host = spark(memory={"total_bytes": total, "available_bytes": total}, services=running)
        return resolved(
            host,
            vllm_service_name="vllm" if number == 0 else f"vllm-{number}",
            vllm_port=8000 + number,
            vllm_gpu_memory_utilization=wishes[number] / 1000,
            vllm_memory_reserve_gib=reserve_gib,
            vllm_model="tiny",
            vllm_models=TINY,
            vllm_max_model_len=8,
            vllm_extra_args={"max_num_batched_tokens": 8, "max_num_seqs": 1, "enforce_eager": True},
        )

    running: list[dict[str, t.Any]] = []
    shares: list[float] = []
    for number in range(len(wishes)):
        found = deployed(number, running)
        if found.budget_problem or not found.plan["fits"]:  # the role refuses it
            break
        running.append(held("vllm" if number == 0 else f"vllm-{number}", found))
        shares.append(found.utilization)
    assert [deployed(number, running).utilization for number in range(len(shares))] == shares


def test_the_name_of_a_release_does_not_depend_on_what_is_read_of_its_model_later() -> None:
    """A model without an entry: the deployment names the release first, and reads the model then."""
    read = {
        "id": "acme/unknown",
        "weights_bytes": GIB,
        "layers": 2,
        "kv_heads": 2,
        "head_dim": 64,
        "native_context": 4096,
    }
    for wish, beside in ((0.3525, 0.56), (0.9, 0.4)):
        neighbor = service("vllm-b", int(beside * TOTAL))
        wanted = {"vllm_model": "acme/unknown", "vllm_gpu_memory_utilization": wish}
        before = resolved(spark(services=[neighbor]), **wanted)
        assert before.argv == resolved(spark(services=[neighbor]), model_info=read, **wanted).argv
    assert (
        resolved(
            spark(services=[service("vllm-b", int(0.56 * TOTAL))]), **{**wanted, "vllm_gpu_memory_utilization": 0.3525}
        ).utilization
        == 0.3525
    )


def test_what_it_offloads_itself_is_no_reason_to_refuse_it_for_a_neighbor() -> None:
    small = service("vllm-b", 2 * GIB)
    found = resolved(spark(services=[small]), vllm_extra_args={"kv_offloading_size": 115})
    assert found.budget_problem == ""


def test_only_neighbors_that_make_a_share_smaller_are_named() -> None:
    assert resolved(spark(), vllm_memory_reserve_gib=40).capped_for == []
    full = spark(memory=SMALL, services=[service("vllm-a", 6 * GIB), service("vllm-b", 5 * GIB)])
    assert resolved(full, **ON_CPU).capped_for == ["vllm-a", "vllm-b"]
