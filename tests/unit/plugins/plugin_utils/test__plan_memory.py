# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory plan against published figures, and what it says of models that do not fit.

The journey `plan` compares it with real engines. The marks: M measured, S stated, C computed, W weak.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, PlanError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.remedies import plan_with_remedies
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.words import GIB
from hypothesis import given
from hypothesis import strategies as st
from planned_models import ANY, GUIDE, LATENT, SPARK, STATEFUL, plan

SMALL = {"id": "Qwen/Qwen3-0.6B", "weights_bytes": 10**9, "layers": 28, "kv_heads": 8, "head_dim": 128}

TOGETHER = "2 hosts that serve it together (vllm_nodes)"

Values = dict[str, t.Any]


@pytest.mark.parametrize(
    ("model", "share", "gib", "thousands"),
    [
        # C: share x 121.7 GiB - weights - what computing takes, as in docs/reference/memory.md
        ("qwen3-8b-fp8", 0.75, 80.3, 584),
        ("qwen3-8b-fp8", 0.80, 86.3, 629),
        ("qwen3-8b-fp8", 0.85, 92.4, 673),
        ("qwen3-8b-fp8", 0.90, 98.5, 717),
        ("llama31-8b-fp8", 0.75, 80.4, 659),
        ("llama31-8b-fp8", 0.80, 86.5, 708),
        ("llama31-8b-fp8", 0.85, 92.6, 758),
        ("llama31-8b-fp8", 0.90, 98.6, 808),
        ("mistral-nemo-12b-fp8", 0.75, 76.1, 499),
        ("mistral-nemo-12b-fp8", 0.80, 82.2, 539),
        ("mistral-nemo-12b-fp8", 0.85, 88.3, 578),
        ("mistral-nemo-12b-fp8", 0.90, 94.3, 618),
        ("qwen3-32b-fp8", 0.75, 55.5, 227),
        ("qwen3-32b-fp8", 0.80, 61.6, 252),
        ("qwen3-32b-fp8", 0.85, 67.7, 277),
        ("qwen3-32b-fp8", 0.90, 73.7, 302),
        ("qwen3-30b-a3b-fp8", 0.75, 60.3, 658),
        ("qwen3-30b-a3b-fp8", 0.80, 66.3, 725),
        ("qwen3-30b-a3b-fp8", 0.85, 72.4, 791),
        ("qwen3-30b-a3b-fp8", 0.90, 78.5, 858),
        ("llama33-70b-fp8", 0.75, 19.2, 63),
        ("llama33-70b-fp8", 0.80, 25.3, 83),
        ("llama33-70b-fp8", 0.85, 31.4, 103),
        ("llama33-70b-fp8", 0.90, 37.4, 123),
    ],
)
def test_the_table_of_what_fits_on_a_spark(model: str, share: float, gib: float, thousands: int) -> None:
    found = plan(model, gpu_memory_utilization=share)
    assert found["fits"]
    assert found["kv_bytes"] / GIB == pytest.approx(gib, abs=0.11)  # the table cuts, and rounds
    assert found["kv_tokens"] / 1000 == pytest.approx(thousands, abs=1)


@pytest.mark.parametrize(
    ("entry", "gib", "tokens", "rounding"),
    [
        # M: public logs of GPUs; GiB have two digits, or none
        ("qwen3-32b-fp8", 66.25, 271_360, 0),
        ({**SMALL, "native_context": 40960}, 69.66, 652_144, 0.005),
    ],
    ids=["Qwen3-32B", "Qwen3-0.6B"],
)
def test_the_tokens_of_a_published_pool(entry: str | Values, gib: float, tokens: int, rounding: float) -> None:
    fewest, most = (
        plan(entry, kv_cache_memory_bytes=int((gib + shift) * GIB))["kv_tokens"] for shift in (-rounding, rounding)
    )
    assert fewest <= tokens <= most
    assert most - fewest <= 100


def test_llama_70b_at_128k_on_one_spark() -> None:
    found = plan("llama33-70b-fp8", max_model_len=131072)
    assert not found["fits"]
    assert found["problem"] == (
        "one request of 131,072 tokens needs 40.0 GiB of KV cache, and there are 37.4 GiB, 0.90 of 121.7 GiB less"
        " 67.7 GiB of weights and 4.4 GiB for activations, graphs and the engine"
    )
    assert len(found["remedies"]) == 3
    assert found["remedies"][:2] == [
        "vllm_max_model_len: 121856 instead of 131072; 122656 is the longest that fits",
        "vllm_extra_args: {kv_cache_dtype: fp8}; KV cache of 245,344 tokens, 1.9 requests of 131,072 tokens",
    ]


def test_a_smaller_form_comes_before_a_second_host() -> None:
    model = Catalog().model("llama33-70b-fp8")
    four_bit = {**model, "weights_bytes": 40 * 10**9}
    others = {"llama33-70b-fp8": model, "four-bit": four_bit, "another": {**four_bit, "parameters": "70B"}}
    args = {**GUIDE, "max_model_len": 131072}
    found = plan_with_remedies(model, SPARK, args, {}, others)["remedies"]
    assert found[2].startswith("vllm_model: four-bit, with 37.3 GiB of weights; KV cache of ")
    alone = plan_with_remedies(model, SPARK, args, {}, {"llama33-70b-fp8": model})["remedies"]
    assert alone[2].startswith(f"{TOGETHER}; KV cache of 467,056 tokens")


def test_every_remedy_fits() -> None:
    model = "llama33-70b-fp8"
    assert plan(model, max_model_len=121856)["fits"]
    assert plan(model, max_model_len=131072, kv_cache_dtype="fp8")["fits"]
    assert plan(model, SPARK._replace(number=2), max_model_len=131072)["fits"]


def test_more_of_the_memory_is_advised_up_to_what_is_safe() -> None:
    found = plan("qwen3-32b-fp8", gpu_memory_utilization=0.3)
    more = "0.9 instead of 0.3; KV cache of 302,048 tokens, 9.2 requests of 32,768 tokens"
    assert f"vllm_gpu_memory_utilization: {more}" in found["remedies"]
    less = plan("qwen3-32b-fp8", SPARK._replace(highest=0.5), gpu_memory_utilization=0.3)
    assert any(line.startswith("vllm_gpu_memory_utilization: 0.5 instead of 0.3") for line in less["remedies"])


def test_weights_that_do_not_fit() -> None:
    found = plan({**ANY, "weights_bytes": 200 * GIB})
    assert found["problem"].startswith(
        "200.0 GiB of weights and 2.5 GiB for activations, graphs and the engine are more"
    )
    assert (found["kv_tokens"], found["max_context"]) == (0, 0)
    assert found["remedies"] == [f"{TOGETHER}; KV cache of 114,400 tokens, 3.5 requests of 32,768 tokens"]
    assert plan({**ANY, "weights_bytes": 2000 * GIB})["remedies"] == []


def test_a_context_that_the_model_does_not_allow() -> None:
    found = plan(ANY, max_model_len=100_000)
    assert found["problem"] == "100,000 tokens of context are more than the 65,536 that the model allows"
    assert found["remedies"] == ["vllm_max_model_len: 65536 instead of 100000; 65536 is the longest that fits"]
    stretched = plan(ANY, max_model_len=100_000, hf_overrides={"rope_parameters": {"factor": 2.0}})
    assert stretched["fits"]


@pytest.mark.parametrize("dtype", ["fp8", "fp8_e4m3", "fp8_e5m2"])
def test_an_fp8_cache_holds_twice_the_tokens(dtype: str) -> None:
    assert plan(ANY, kv_cache_dtype=dtype)["kv_tokens"] == pytest.approx(2 * plan(ANY)["kv_tokens"], abs=32)


def test_a_checkpoint_that_asks_for_an_fp8_cache() -> None:
    asking = {**ANY, "kv_cache_dtype": "fp8"}
    found = plan(asking)
    assert found["kv_tokens"] == plan(ANY, kv_cache_dtype="fp8")["kv_tokens"]
    assert found["reasons"][-1] == "its checkpoint asks for a KV cache of fp8"
    assert plan(asking, kv_cache_dtype="auto")["kv_cache_dtype"] == "fp8"
    assert plan(asking, kv_cache_dtype="bfloat16")["kv_cache_dtype"] == "bf16"


@pytest.mark.parametrize(
    ("version", "dtype"),
    [("0.32.0", "fp8"), ("0.14.0", "fp8"), ("0.13.0", "bf16"), ("0.10.1.1+381074ae.nv25.09", "bf16"), (None, "bf16")],
)
def test_from_which_version_on_it_is_asked(version: str | None, dtype: str) -> None:
    asking = {**ANY, "kv_cache_dtype": "fp8"}
    assert plan_with_remedies(asking, SPARK, GUIDE, {}, {}, version)["kv_cache_dtype"] == dtype


@pytest.mark.parametrize(
    ("name", "value"),
    [("speculative_config", {"model": "x"}), ("spec_model", "x"), ("enable_lora", True), ("lora_modules", "a=x")],
)
def test_further_models_are_not_planned_and_said(name: str, value: t.Any) -> None:
    assert plan(ANY, **{name: value})["reasons"][-1] == f"the further models of {name} are not planned"
    assert plan(ANY, **{name: None})["reasons"] == plan(ANY)["reasons"]


def test_other_numbers_in_the_cache() -> None:
    assert plan(ANY, dtype="float32")["kv_bytes_per_token"] == 2 * plan(ANY)["kv_bytes_per_token"]
    for entry, dtype in ((ANY, "turboquant_4bit_nc"), (LATENT, "nvfp4")):
        assert plan(entry, kv_cache_dtype=dtype)["kv_bytes_per_token"] == plan(entry)["kv_bytes_per_token"]
        assert plan(entry, kv_cache_dtype=dtype)["reasons"][-1] == (
            f"kv_cache_dtype {dtype} is planned with 2 bytes a number, as if it were BF16"
        )


def test_a_latent_cache() -> None:
    found = plan(LATENT)
    assert found["kv_bytes_per_token"] == 27 * 576 * 2  # one vector, not keys and values
    assert plan(LATENT, SPARK._replace(number=2))["kv_bytes_per_token"] == 27 * 576 * 2  # which is not divided


def test_hosts_share_weights_and_heads() -> None:
    alone, pair = plan(ANY), plan(ANY, SPARK._replace(number=2))
    assert pair["weights_bytes"] == alone["weights_bytes"] // 2
    assert pair["kv_bytes_per_token"] == alone["kv_bytes_per_token"] // 2
    assert pair["kv_tokens"] > 2 * alone["kv_tokens"]
    assert plan(ANY, tensor_parallel_size=2)["kv_tokens"] == pair["kv_tokens"]
    # there is no half a head
    few = {**ANY, "kv_heads": 2}
    assert plan(few, SPARK._replace(number=4))["kv_bytes_per_token"] == plan(few)["kv_bytes_per_token"] // 2


def test_windows_cost_little() -> None:
    windows = {**ANY, "sliding_window": 128, "full_attention_layers": 16}
    assert plan(windows)["kv_bytes_per_token"] == plan(ANY)["kv_bytes_per_token"] // 2
    small_batches = {"max_num_batched_tokens": 2048}
    assert plan(windows, **small_batches)["kv_tokens"] > 1.7 * plan(ANY, **small_batches)["kv_tokens"]
    # two batches of the guide's size are as long as its whole context
    assert plan(windows)["kv_tokens"] == pytest.approx(plan(ANY)["kv_tokens"], rel=0.001)
    as_full = plan(windows, disable_hybrid_kv_cache_manager=True)
    assert as_full["kv_tokens"] == plan(ANY)["kv_tokens"]


def test_states_cost_the_same_at_every_length() -> None:
    short, long = (plan(STATEFUL, max_model_len=length) for length in (4096, 65536))
    assert short["block_tokens"] == long["block_tokens"] == 1056  # as large as a state
    assert short["kv_tokens"] < long["kv_tokens"]
    assert plan(STATEFUL, enable_prefix_caching=False)["kv_tokens"] > plan(STATEFUL)["kv_tokens"]


def test_what_a_start_must_find_free() -> None:
    assert plan(ANY)["needed_bytes"] == pytest.approx(0.9 * SPARK.total, abs=1)
    # vLLM asks for its share also where the pool's size is given
    assert plan(ANY, kv_cache_memory_bytes=10 * GIB)["needed_bytes"] == pytest.approx(0.9 * SPARK.total, abs=1)
    on_cpu = plan(ANY, environment={"VLLM_CPU_KVCACHE_SPACE": "8"}, enforce_eager=True)
    assert on_cpu["needed_bytes"] == pytest.approx(10 * GIB + 8 * GIB + 2.5 * GIB, rel=0.01)


def test_a_pool_that_leaves_the_host_too_little() -> None:
    found = plan(ANY, kv_cache_memory_bytes="105G")
    assert found["problem"] == (
        "105.0 GiB of KV cache were asked for, and with 10.0 GiB of weights and 2.5 GiB for activations, graphs and the"
        " engine that is more than the 110.7 GiB that this host can give"
    )
    smaller = f"{{kv_cache_memory_bytes: {98 * GIB}}}; KV cache of 802,816 tokens, 24.5 requests of 32,768 tokens"
    assert found["remedies"][0] == f"vllm_extra_args: {smaller}"


@pytest.mark.parametrize(
    ("args", "environment", "given_by", "larger"),
    [
        ({}, {"VLLM_CPU_KVCACHE_SPACE": "1"}, "VLLM_CPU_KVCACHE_SPACE", "vllm_extra_env: {VLLM_CPU_KVCACHE_SPACE: 4}"),
        (
            {"kv_cache_memory_bytes": "1G"},
            {},
            "kv_cache_memory_bytes",
            f"vllm_extra_args: {{kv_cache_memory_bytes: {4 * GIB}}}",
        ),
        ({"num_gpu_blocks_override": 512}, {}, "num_gpu_blocks_override", "no num_gpu_blocks_override"),
    ],
)
def test_a_pool_that_was_given_too_small(args: Values, environment: Values, given_by: str, larger: str) -> None:
    found = plan(ANY, environment=environment, max_model_len=32000, **args)
    assert 3.9 * GIB < found["request_bytes"] < 4 * GIB
    assert found["problem"] == (
        f"one request of 32,000 tokens needs 3.9 GiB of KV cache, and there are 1.0 GiB, given by {given_by}"
    )
    assert found["remedies"][0].startswith(f"{larger}; KV cache of ")


def test_vllm_finds_the_longest_context_itself() -> None:
    for value in ("auto", -1):
        found = plan(ANY, max_model_len=value)
        assert (found["fits"], found["context"], found["max_context"]) == (True, 65536, 65536)
    assert plan({**ANY, "weights_bytes": 104 * GIB}, max_model_len="auto")["context"] < 65536


def test_options_that_are_left_out() -> None:
    found = plan_with_remedies(ANY, SPARK, {}, {}, {})
    assert (found["context"], found["utilization"], found["activation_bytes"]) == (65536, 0.9, 8192 * 124518)
    smaller = plan_with_remedies(ANY, Host(60 * GIB, highest=0.9), {}, {}, {})  # a Spark of 64 GB
    assert smaller["activation_bytes"] == 2048 * 124518


def test_nothing_is_planned_without_sizes() -> None:
    with pytest.raises(PlanError, match="nothing can be planned for a/b: layers, head_dim is not known"):
        plan({**ANY, "layers": None, "head_dim": None})
    with pytest.raises(PlanError, match="nothing can be planned for a/b: layers must be a whole number"):
        plan({**ANY, "layers": "x"})


def test_a_model_whose_longest_context_nobody_knows() -> None:
    unknown = {**ANY, "native_context": None}
    assert plan(unknown)["kv_tokens"] == plan(ANY)["kv_tokens"]
    assert plan(unknown, max_model_len=10**9)["remedies"][0].startswith("vllm_max_model_len: ")
    for length in (None, "auto", -1):
        with pytest.raises(PlanError, match="nothing can be planned for a/b: native_context is not known"):
            plan(unknown, max_model_len=length)


@given(
    weights=st.integers(1, 140),
    context=st.integers(1, 65536),
    layers=st.integers(1, 100),
    window=st.sampled_from([None, 128, 4096]),
    full=st.integers(1, 100),
    states=st.sampled_from([None, 3, 40]),
    dtype=st.sampled_from(["auto", "fp8"]),
)
def test_the_longest_context_is_where_fitting_ends(
    weights: int, context: int, layers: int, window: int | None, full: int, states: int | None, dtype: str
) -> None:
    entry = {**ANY, "weights_bytes": weights * GIB, "layers": layers, "sliding_window": window}
    entry |= {"full_attention_layers": min(full, layers), "state_layers": states, "state_bytes": states and 10**6}
    found = plan(entry, max_model_len=context, kv_cache_dtype=dtype)
    assert found["fits"] is (context <= found["max_context"])
    assert found["fits"] is (found["problem"] is None)
    assert len(found["remedies"]) <= 3
    if found["fits"]:
        assert found["sequences"] >= 1
        assert found["kv_tokens"] >= context
    if 0 < found["max_context"] < 65536:
        assert plan(entry, max_model_len=found["max_context"], kv_cache_dtype=dtype)["fits"]
        assert not plan(entry, max_model_len=found["max_context"] + 1, kv_cache_dtype=dtype)["fits"]


def test_every_model_of_the_catalog_fits_with_its_default() -> None:
    for name in Catalog().models():
        assert plan(name)["fits"], name
