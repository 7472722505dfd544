# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter: what it takes, what it refuses. tests/unit/plugins/plugin_utils/test__plan_memory.py has the figures."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter import memory_plan as plugin
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.share import LARGEST

memory_plan = plugin.FilterModule().filters()["memory_plan"]
MODEL = Catalog().model("qwen3-8b-fp8")
SPARK = 130674379980
FOUR = {name: MODEL[name] for name in ("weights_bytes", "layers", "kv_heads", "head_dim")}

SMALLER = {**MODEL, "weights_bytes": "x"}


def test_it_says_what_it_documents() -> None:
    documented = yaml.safe_load(plugin.RETURN)["_value"]["contains"]
    assert set(memory_plan(MODEL, SPARK)) == set(documented)
    assert yaml.safe_load(plugin.DOCUMENTATION)["options"]["max_utilization"]["default"] == LARGEST


def test_the_guides_throughput_profile() -> None:
    args = {**Catalog().profiles()["throughput"]["args"]}
    found = memory_plan(MODEL, total_bytes=SPARK, args=args)
    assert (found["fits"], found["kv_tokens"], found["sequences"], found["max_context"]) == (True, 717312, 21.89, 40960)


def test_the_users_models_are_looked_at_for_a_smaller_form() -> None:
    small = {**MODEL, "weights_bytes": 4 * 10**9}
    args = {"max_model_len": 40960, "gpu_memory_utilization": 0.1}
    found = memory_plan(MODEL, SPARK, args, max_utilization=0.1, models={"mine": small})
    assert any(line.startswith("vllm_model: mine, with 3.7 GiB of weights") for line in found["remedies"])


def test_four_fields_and_a_context_are_enough() -> None:
    args = {"max_model_len": 32768}
    few, all_ = (memory_plan(model, SPARK, args)["kv_tokens"] for model in (FOUR, MODEL))
    assert few == pytest.approx(all_, rel=0.02)  # what computing takes is estimated


def test_what_the_checkpoint_asks_for_counts_from_a_version_on() -> None:
    asking = {**MODEL, "kv_cache_dtype": "fp8"}
    assert memory_plan(asking, SPARK)["kv_cache_dtype"] == "bf16"
    assert memory_plan(asking, SPARK, vllm="0.10.1.1")["kv_cache_dtype"] == "bf16"
    assert memory_plan(asking, SPARK, vllm="0.32.0")["kv_cache_dtype"] == "fp8"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("text", SPARK), "input must be a mapping"),
        ((MODEL, "much"), "total_bytes, max_utilization and hosts must be numbers"),
        ((MODEL, 0), "total_bytes and hosts must be above 0"),
        ((MODEL, SPARK, ["x"]), "args must be a mapping"),
        (({**MODEL, "weights_bytes": None}, SPARK), "for Qwen/Qwen3-8B-FP8: weights_bytes is not known"),
        (({**MODEL, "layers": "x"}, SPARK), "for Qwen/Qwen3-8B-FP8: layers must be a whole number"),
        ((FOUR, SPARK), "for None: native_context is not known"),
        ((MODEL, 10**9, {}, {}, 1, 0.9, {"mine": SMALLER}), "nothing can be planned for Qwen/Qwen3-8B-FP8 (TypeError"),
    ],
)
def test_refused_with_one_line(given: tuple[t.Any, ...], words: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        memory_plan(*given)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
