# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory plan of the catalog's entries against vLLM on one H200 and on two. tests/gpu recorded the starts."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, plan
from ansible_collections.dgxspark.vllm.tests.gpu import compare, shapes

ROOT = Path(__file__).parents[4]
FILES = ("0.24/plan.json", "0.24/plan_pair.json", "0.32/plan.json")
RECORDED: dict[str, t.Any] = {
    name: json.loads((ROOT / "tests" / "fixtures" / "vllm" / name).read_text()) for name in FILES
}
# what was not started: no shape of its own, one that this vLLM does not know, and one that its transformers rejects
NOT_STARTED = {
    "0.24/plan.json": {
        *("qwen36-27b-nvfp4", "qwen3-coder-30b-a3b-fp8", "qwen38-flash-next-nvfp4", "gemma4-26b-a4b-nvfp4")
    },
    "0.32/plan.json": {"qwen3-coder-30b-a3b-fp8", "qwen38-flash-next-nvfp4"},
}
# farther than the others: 80 layers, where less was needed than planned, and drafts and a latent cache, where more was
FARTHER = {
    "0.32/plan.json": {
        "llama33-70b-fp8": -1.6,
        "nemotron3-super+mtp": 1.3,
        "glm-4.7-flash": 1.5,
        "glm-4.7-flash+mtp": 2,
    }
}


@pytest.mark.parametrize("file", NOT_STARTED)
def test_every_entry_was_started_or_is_excused(file: str) -> None:
    entries = {path.stem for path in (ROOT / "catalog" / "models").glob("*.yml")}
    started = {name.split("+")[0] for name in RECORDED[file]["starts"]}
    assert entries - NOT_STARTED[file] == started - set(shapes.OTHERS)


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in RECORDED[file]["starts"]])
def test_planned_tokens_are_within_two_percent(file: str, name: str) -> None:
    found = compare.compare(name, RECORDED[file]["starts"][name], RECORDED[file]["machine"]["total"])
    assert abs(found.error) < 2
    assert abs(found.error) < abs(FARTHER.get(file, {}).get(name, 1.2))  # what it is today
    # with the KV cache that vLLM had, all that differs is that the log has two digits of it
    # (and that 0.32 gives Gemma 4 blocks of 64 and 128 tokens, where the plan has 16)
    is_gemma = name.startswith("gemma4")
    assert found.of_given == pytest.approx(found.tokens, rel=0.0015 if is_gemma else 0.0002)


@pytest.mark.parametrize("name", RECORDED["0.24/plan_pair.json"]["starts"])
def test_two_hosts_with_the_weights_of_the_entry(name: str) -> None:
    """As a deployment plans, which has no log to take the weights from."""
    recorded = RECORDED["0.24/plan_pair.json"]
    start, entry = recorded["starts"][name], compare.entry_of(name)
    host = Host(recorded["machine"]["total"], compare.HIGHEST)
    found = plan(entry, host, start["args"], {}, "0.24.0")
    measured = compare.compare(name, start, recorded["machine"]["total"])
    assert found["weights_bytes"] / compare.GIB == pytest.approx(measured.loaded_gib, rel=0.01)
    assert found["kv_bytes"] / compare.GIB == pytest.approx(measured.kv_gib, rel=0.007)


def test_experts_in_mxfp4_are_padded_for_marlin_only() -> None:
    """M: a published log of gpt-oss-120b on one GPU, vLLM 0.11.2: `Model loading took 65.9651 GiB memory`."""
    entry, host, marlin = compare.entry_of("gpt-oss-120b"), Host(140 * compare.GIB, 0.95), {"moe_backend": "marlin"}

    def weights(args: dict[str, t.Any], of: dict[str, t.Any] = entry, hosts: int = 1) -> float:
        found = plan(of, host._replace(number=hosts), args, {}, "0.26.0")
        assert any("pad its experts" in reason for reason in found["reasons"]) is (args == marlin and of is entry)
        return found["weights_bytes"] / compare.GIB

    assert weights(marlin) == pytest.approx(65.9651, rel=0.001)
    assert weights({}) == weights({"moe_backend": "triton"}) == pytest.approx(60.82, abs=0.01)
    assert weights(marlin, {**entry, "hidden_size": 3072, "expert_size": 3072}) == pytest.approx(60.82, abs=0.01)
    # a rank pads its part of the width; whole experts need less
    assert weights(marlin, hosts=2) > weights(marlin) / 2


@pytest.mark.parametrize("args", [{"enable_expert_parallel": True}, {"pipeline_parallel_size": 2}])
def test_ranks_that_have_whole_experts(args: dict[str, t.Any]) -> None:
    entry, marlin = compare.entry_of("gpt-oss-120b"), {"moe_backend": "marlin"}
    one, two = (
        plan(entry, Host(140 * compare.GIB, 0.95, hosts), {**marlin, **more}, {}, "0.26.0")["weights_bytes"]
        for hosts, more in ((1, {}), (2, args))
    )
    assert two == pytest.approx(one / 2, abs=1)


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_the_shape_is_the_one_of_the_entry(name: str) -> None:
    """Otherwise the start would say nothing of the entry."""
    entry = compare.entry_of(name)
    found, assumed = entry_of(shapes.SHAPES[name], entry["weights_bytes"])
    names = {"layers", "kv_heads", "head_dim", "hidden_size", "vocab_size", "activation_bytes", "config_context"}
    names |= {"experts", "expert_size"}
    names |= {name for name in entry if name.startswith(("state_", "sliding_", "full_attention", "attention_kinds"))}
    assert {name: found.get(name) for name in names} == {name: entry.get(name) for name in names}
    assert assumed == []
