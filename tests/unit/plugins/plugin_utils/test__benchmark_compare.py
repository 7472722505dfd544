# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change beyond noise, and noise. Half the batch size is found, a repeat of the same run is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark.compare import FLOORS, compare, spread
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[4] / "tests" / "fixtures" / "vllm" / "0.24"
THROUGHPUT = "output_throughput"
METRICS = st.sampled_from(list(FLOORS))
RATES = st.floats(min_value=0.1, max_value=1e6)
# Repetitions of one figure that differ by at most 2 %: what a cool, idle host measures.
STEADY = st.lists(st.floats(min_value=0.98, max_value=1.02), min_size=3, max_size=8)
NOISY = st.lists(RATES, min_size=1, max_size=15)


def of(metric: str, factor: float) -> float:
    """What a speed of FACTOR does to a figure."""
    return factor if metric == THROUGHPUT else 1 / factor


@given(METRICS, NOISY, st.randoms())
def test_the_same_values_again_are_no_change(metric: str, values: list[float], order: object) -> None:
    again = list(values)
    order.shuffle(again)  # type: ignore[attr-defined]
    found = compare(metric, values, again)
    assert found is not None
    assert found.verdict == "same"
    assert found.change == pytest.approx(0)


@given(METRICS, NOISY, st.data())
def test_what_was_seen_before_is_no_change(metric: str, values: list[float], data: st.DataObject) -> None:
    """A repeat whose figures lie within those of before, however they are spread."""
    within = st.floats(min_value=min(values), max_value=max(values))
    found = compare(metric, values, data.draw(st.lists(within, min_size=1, max_size=8)))
    assert found is not None
    assert found.verdict == "same"


@given(METRICS, RATES, STEADY, STEADY)
def test_a_repeat_on_a_steady_host_is_no_change(
    metric: str, rate: float, first: list[float], last: list[float]
) -> None:
    found = compare(metric, [rate * value for value in first], [rate * value for value in last])
    assert found is not None
    assert found.verdict == "same"


@given(METRICS, RATES, STEADY, STEADY, st.floats(min_value=0.01, max_value=0.75))
def test_three_quarters_of_the_speed_is_a_regression_on_a_steady_host(
    metric: str, rate: float, first: list[float], last: list[float], factor: float
) -> None:
    worse = [rate * value * of(metric, factor) for value in last]
    found = compare(metric, [rate * value for value in first], worse)
    assert found is not None
    assert found.verdict == "regression"
    back = compare(metric, worse, [rate * value for value in first])
    assert back is not None
    assert back.verdict == "improvement"


@given(METRICS, NOISY, NOISY, st.floats(min_value=0.01, max_value=100))
def test_the_unit_does_not_matter(metric: str, first: list[float], last: list[float], unit: float) -> None:
    one = compare(metric, first, last)
    other = compare(metric, [unit * value for value in first], [unit * value for value in last])
    assert one is not None
    assert other is not None
    assert one.change == pytest.approx(other.change)
    assert one.noise == pytest.approx(other.noise)


@given(METRICS, NOISY, NOISY, st.floats(min_value=0.01, max_value=1))
def test_slower_than_a_regression_is_one_too(metric: str, first: list[float], last: list[float], factor: float) -> None:
    found = compare(metric, first, last)
    slower = compare(metric, first, [value * of(metric, factor) for value in last])
    assert found is not None
    assert slower is not None
    assert not (found.verdict == "regression" and slower.verdict != "regression")


@pytest.mark.parametrize("values", [[], [0.0], [-1.0]])
def test_nothing_can_be_said_without_values(values: list[float]) -> None:
    assert compare(THROUGHPUT, values, [1.0]) is None
    assert compare(THROUGHPUT, [1.0], values) is None


def test_one_outlier_hides_no_regression() -> None:
    found = compare(THROUGHPUT, [100, 101, 99, 100, 102, 40], [50, 51, 50])
    assert found is not None
    assert found.verdict == "same"  # 40 was seen before
    found = compare(THROUGHPUT, [100, 101, 99, 100, 102, 60], [50, 51, 50])
    assert found is not None
    assert found.verdict == "regression"


def test_single_runs_must_differ_more() -> None:
    few, many = compare(THROUGHPUT, [100], [90]), compare(THROUGHPUT, [100] * 3, [90] * 3)
    assert few is not None
    assert many is not None
    assert (few.verdict, many.verdict) == ("same", "regression")


def test_spread_of_nothing() -> None:
    assert spread([5.0]) == 0
    assert spread([0.0, 0.0]) == 0


@pytest.mark.parametrize("metric", FLOORS)
def test_a_recorded_repeat_on_a_busy_machine(metric: str) -> None:
    found = compare(metric, seqs("16", metric), seqs("16 again", metric))
    assert found is not None
    assert found.verdict == "same"


@pytest.mark.parametrize("metric", ["output_throughput", "median_ttft_ms"])
def test_recorded_half_of_the_batch_size_on_a_busy_machine(metric: str) -> None:
    """A server with --max-num-seqs 8 instead of 16, measured by the module. The noise is large, the change larger."""
    for before in (seqs("16", metric), seqs("16", metric) + seqs("16 again", metric)):
        found = compare(metric, before, seqs("8", metric))
        assert found is not None
        assert found.verdict == "regression"


def seqs(setting: str, metric: str) -> list[float]:
    recorded = json.loads((FIXTURES.parent / "0.32" / "bench_max_num_seqs.json").read_text())
    return [result[metric] for result in recorded[setting]]


def test_half_the_batch_size_on_a_real_gpu() -> None:
    """64 requests at a time, and what 32 at a time give, which is what is left of it with max_num_seqs 32."""
    whole, half = (
        json.loads((FIXTURES / f"bench_serve_c{number}.json").read_text())[THROUGHPUT] for number in (64, 32)
    )
    noise = (0.99, 1.0, 1.01)
    found = compare(THROUGHPUT, [whole * factor for factor in noise], [half * factor for factor in noise])
    assert found is not None
    assert found.verdict == "regression"
    assert found.change == pytest.approx(-0.44, abs=0.01)
