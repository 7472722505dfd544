# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which profile is proposed for a goal, and what is written of it."""

from __future__ import annotations

import typing as t

import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark.propose import Target, profile_file, propose
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog

Facts = dict[str, t.Any]
PROFILES = Catalog().profiles()
NOISE = (0.99, 1.0, 1.01)


def cell(concurrency: int, rate: float, ttft: float = 100, tpot: float = 50) -> Facts:
    results = [{"output_throughput": rate * noise, "median_ttft_ms": ttft, "median_tpot_ms": tpot} for noise in NOISE]
    return {"concurrency": concurrency, "repetitions": [{"result": result} for result in results]}


def record(profile: str, *cells: Facts) -> Facts:
    return {"server": {"profile": profile}, "cells": list(cells)}


MEASURED = [
    record("throughput", cell(1, 20, tpot=45), cell(64, 400, ttft=900, tpot=140)),
    record("latency", cell(1, 21, tpot=44), cell(8, 130, tpot=55), cell(16, 200, tpot=70)),
    record("concurrency", cell(1, 19, tpot=46), cell(64, 480, ttft=1500, tpot=160)),
]


def test_without_a_target_the_highest_throughput_wins() -> None:
    found = propose(MEASURED, {}, PROFILES, "throughput", Target())
    assert (found.profile, found.is_new) == ("concurrency", True)
    assert found.args == PROFILES["concurrency"]["args"]
    assert found.reason == "concurrency has the most tokens/s: 480.0 with 64 requests at a time"


def test_a_target_selects_a_cell_and_limits_the_batch() -> None:
    found = propose(MEASURED, {}, PROFILES, "throughput", Target(tpot_ms=60))
    assert (found.profile, found.is_new) == ("latency", True)
    assert found.args == {**PROFILES["latency"]["args"], "max_num_seqs": 8}
    assert "TPOT up to 60 ms: 130.0 with 8 requests at a time; max_num_seqs is 8" in found.reason


def test_the_current_profile_stays_within_the_noise() -> None:
    close = [record("throughput", cell(64, 400)), record("latency", cell(64, 410))]
    found = propose(close, {}, PROFILES, "throughput", Target())
    assert (found.profile, found.is_new) == ("throughput", False)
    assert "no other one is faster beyond noise" in found.reason


def test_a_target_that_nothing_reaches() -> None:
    found = propose(MEASURED, {"mine": "it does not fit"}, PROFILES, "throughput", Target(ttft_ms=10))
    assert (found.profile, found.is_new, found.args) == (None, False, {})
    assert found.reason == "no measured profile reaches the target: the most tokens/s with TTFT up to 10 ms"
    assert "misses the target at every concurrency" in found.table
    assert "not measured: it does not fit" in found.table


def test_nothing_was_measured() -> None:
    assert propose([], {"latency": "x"}, PROFILES, "throughput", Target()).profile is None


def test_the_file_is_an_inventory() -> None:
    found = propose(MEASURED, {}, PROFILES, "throughput", Target(tpot_ms=60))
    text = profile_file(found, "spark01: measured")
    variables = yaml.safe_load(text)
    assert variables["vllm_profile"] == "tuned"
    assert variables["vllm_profiles"]["tuned"]["args"] == found.args
    assert text.startswith("# spark01: measured\n# latency has")
