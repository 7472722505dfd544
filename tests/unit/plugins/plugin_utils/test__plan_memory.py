# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory plan against published figures, and what it says of models that do not fit.

The journey `plan` compares it with real engines. The marks: M measured, S stated, C computed, W weak.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.per_image import speculative_config
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host, PlanError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.remedies import plan_with_remedies
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.words import GIB
from hypothesis import given
from hypothesis import strategies as st

SPARK = Host(int(121.7 * GIB), highest=0.91)  # S: MemTotal of current DGX OS
GUIDE = {
    "max_model_len": 32768,
    "gpu_memory_utilization": 0.9,
    "max_num_batched_tokens": 16384,
    "max_num_seqs": 64,
}
SMALL = {"id": "Qwen/Qwen3-0.6B", "weights_bytes": 10**9, "layers": 28, "kv_heads": 8, "head_dim": 128}
ANY = {"id": "a/b", "weights_bytes": 10 * GIB, "layers": 32, "kv_heads": 8, "head_dim": 128, "native_context": 65536}
# of DeepSeek V2 Lite, and of Qwen3-Next
LATENT = {**ANY, "layers": 27, "kv_heads": 16, "latent_dim": 576}
STATEFUL = {**ANY, "layers": 12, "kv_heads": 2, "head_dim": 256, "state_layers": 36, "state_bytes": 2146304}
COMPRESSED = {**ANY, "head_dim": 512, "index_dim": 128, "sliding_window": 128, "compressed": {4: 16, 128: 14}}
TOGETHER = "2 hosts that serve it together (vllm_nodes)"

Values = dict[str, t.Any]


def plan(entry: str | Values, host: Host = SPARK, environment: Values | None = None, **args: t.Any) -> Values:
    model = Catalog().model(entry) if isinstance(entry, str) else entry
    return plan_with_remedies(model, host, {**GUIDE, **args}, environment or {}, Catalog().models(), "0.32.0")


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


# --- what options, environment and versions change -------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", 1, "true"])
def test_a_context_beyond_the_models_own(value: t.Any) -> None:
    longer = {"max_model_len": 100_000}
    assert plan(ANY, environment={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": value}, **longer)["fits"]
    assert not plan(ANY, environment={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "0"}, **longer)["fits"]


LARGE = {**ANY, "weights_bytes": 141 * 10**9, "layers": 80, "embedding_bytes": 4_200_000_000}


@pytest.mark.parametrize(
    ("quantization", "gib"),
    [("fp8", 67.6), ("fp8_per_block", 67.6), ("experts_int8", 67.6), ("bitsandbytes", 39.6), ("awq", 131.3)],
)
def test_weights_that_are_quantized_at_the_start(quantization: str, gib: float) -> None:
    assert plan(LARGE, quantization=quantization)["weights_bytes"] / GIB == pytest.approx(gib, abs=0.1)
    stored = {**LARGE, "quantization": "modelopt"}  # a checkpoint that is quantized already stays as it is
    assert plan(stored, quantization=quantization)["weights_bytes"] == 141 * 10**9


def test_older_versions_load_such_weights_whole() -> None:
    def fits(vllm: str) -> bool:
        return bool(plan_with_remedies(LARGE, SPARK, {**GUIDE, "quantization": "fp8"}, {}, {}, vllm)["fits"])

    assert (fits("0.16.0"), fits("0.14.0")) == (True, False)


WINDOWS = {**ANY, "layers": 30, "sliding_window": 1024, "full_attention_layers": 5}


def test_one_batch_in_flight_or_two() -> None:
    args = {**GUIDE, "max_num_batched_tokens": 4096, "kv_cache_memory_bytes": 20 * GIB}
    one, two = (plan_with_remedies(WINDOWS, SPARK, args, {}, {}, vllm)["kv_tokens"] for vllm in ("0.25.1", "0.26.0"))
    assert one > two == plan_with_remedies(WINDOWS, SPARK, args, {}, {}, None)["kv_tokens"]
    asked = {**args, "async_scheduling": False}
    assert plan_with_remedies(WINDOWS, SPARK, asked, {}, {}, "0.32.0")["kv_tokens"] == one


MAMBA = {**STATEFUL, "state_matrix": 524288, "state_width": 4, "state_channels": 8192, "state_chunk": 128}


def test_how_many_states_a_version_keeps() -> None:
    """S: MambaSpec.max_memory_usage_bytes and where prefix caching is the default, in the source of each version."""

    def tokens(vllm: str, **args: t.Any) -> int:
        entry = {**MAMBA, "native_context": 262144}
        args = {**GUIDE, "max_model_len": 262144, "kv_cache_memory_bytes": 20 * GIB, **args}
        return int(plan_with_remedies(entry, SPARK, args, {}, {}, vllm)["kv_tokens"])

    on, off = {"enable_prefix_caching": True}, {"enable_prefix_caching": False}
    assert tokens("0.24.0") == tokens("0.24.0", **off) == tokens("0.32.0", **off)  # by itself it was off
    assert tokens("0.26.0") < tokens("0.26.0", **off)
    assert tokens("0.27.1", **on) < 0.7 * tokens("0.28.0", **on)  # a state for each block
    assert tokens("0.32.0", **on) < tokens("0.31.0", **on)  # one more


def test_types_of_states_and_drafted_tokens() -> None:
    wide, narrow = (plan(MAMBA, mamba_ssm_cache_dtype=name)["block_tokens"] for name in ("float32", "bfloat16"))
    assert (wide, narrow) == (1056, 544)
    drafts = plan(MAMBA, speculative_config={"method": "mtp", "num_speculative_tokens": 3})
    assert drafts["sequences"] < plan(MAMBA)["sequences"]
    assert drafts["block_tokens"] > plan(MAMBA)["block_tokens"]
    text = plan(MAMBA, speculative_config='{"method": "mtp", "num_speculative_tokens": 3}')
    assert text["sequences"] == drafts["sequences"]


def test_the_draft_model_of_an_entry() -> None:
    kinds = [{"layers": 5, "kv_heads": 8, "head_dim": 128}]
    draft = {"method": "dflash", "tokens": 8, "id": "c/draft", "weights_bytes": 3 * GIB, "attention_kinds": kinds}
    entry = {**ANY, "draft": draft}
    alone, other = plan(entry), {"method": "dflash", "model": "c/other", "num_speculative_tokens": 8}
    assert alone["reasons"] == plan(ANY)["reasons"]  # described, and not used
    used = plan(entry, speculative_config=speculative_config(draft))
    assert used["weights_bytes"] == alone["weights_bytes"] + 3 * GIB
    assert used["kv_bytes_per_token"] == alone["kv_bytes_per_token"] + 5 * 2 * 8 * 128 * 2
    assert not [line for line in used["reasons"] if "further models" in line]
    unknown = plan(entry, speculative_config=other)
    assert unknown["weights_bytes"] == alone["weights_bytes"]
    assert unknown["reasons"][-1] == "the further models of speculative_config are not planned"
    surer, less_sure = (found["kv_bytes"] - found["kv_bytes_least"] for found in (used, unknown))
    assert less_sure - surer == int(1.5 * GIB)


def test_drafts_without_a_model() -> None:
    for config in ({"method": "mtp", "num_speculative_tokens": 3}, {"method": "ngram", "num_speculative_tokens": 3}):
        found = plan(ANY, speculative_config=config)
        assert not [line for line in found["reasons"] if "further models" in line], config
        assert found["kv_bytes"] - found["kv_bytes_least"] < 5 * GIB
    # an MTP layer in a repository of its own
    found = plan(ANY, speculative_config={"method": "mtp", "model": "c/d", "num_speculative_tokens": 3})
    assert found["reasons"][-1] == "the further models of speculative_config are not planned"
    # the short options of newer versions
    short = plan(MAMBA, spec_method="mtp", spec_tokens=3)
    assert (
        short["sequences"]
        == plan(MAMBA, speculative_config={"method": "mtp", "num_speculative_tokens": 3})["sequences"]
    )


DSPARK: dict[str, t.Any] = {"method": "dspark", "num_speculative_tokens": 5}


def test_a_model_that_drafts_with_layers_of_its_own() -> None:
    """How much they keep is in tests/fixtures/kv_reference."""
    entry = {**ANY, "dspark_layers": 3}
    token = ANY["kv_heads"] * ANY["head_dim"] * 2 * 2
    itself = plan(entry, speculative_config=DSPARK)
    assert itself["kv_bytes_per_token"] == plan(entry)["kv_bytes_per_token"] + 3 * token
    assert not [line for line in itself["reasons"] if "further models" in line]
    assert plan(entry, speculative_config={**DSPARK, "model": entry["id"]}) == itself  # as vLLM names it
    for other in (plan(ANY, speculative_config=DSPARK), plan(entry, speculative_config={**DSPARK, "model": "c/d"})):
        assert other["kv_bytes_per_token"] == plan(ANY)["kv_bytes_per_token"]
        assert other["reasons"][-1] == "the further models of speculative_config are not planned"


def test_drafts_whose_number_vllm_takes_from_the_model() -> None:
    entry = {**MAMBA, "mtp_layers": 2}
    said = plan(entry, speculative_config={"method": "mtp", "num_speculative_tokens": 2})
    assert plan(entry, speculative_config={"method": "mtp"}) == said


MIXED = {**ANY, "sliding_window": 128, "full_attention_layers": 16}
SKIPPED = "layers of kv_cache_dtype_skip_layers are not planned"


@pytest.mark.parametrize(
    ("layers", "kept"), [(["0", "3"], 2), ([1, 1], 1), ("5", 1), ([], 0), (["-1", "31", "32", "99"], 1), (["-1"], 0)]
)
def test_layers_that_stay_in_bf16(layers: t.Any, kept: int) -> None:
    quantized = plan(ANY, kv_cache_dtype="fp8")["kv_bytes_per_token"]
    token = quantized // ANY["layers"]
    found = plan(ANY, kv_cache_dtype="fp8", kv_cache_dtype_skip_layers=layers)
    assert found["kv_bytes_per_token"] == quantized + kept * token
    assert plan(ANY, kv_cache_dtype_skip_layers=layers) == plan(ANY)  # all of them are in BF16
    mixed = plan(MIXED, kv_cache_dtype="fp8", kv_cache_dtype_skip_layers=layers)
    assert (f"the {SKIPPED}" in mixed["reasons"]) == bool(kept)


def test_windows_that_stay_in_bf16_by_their_number() -> None:
    window = {"layers": 16, "kv_heads": 2, "head_dim": 256, "sliding_window": 1024}
    every = {**ANY, **window, "full_attention_layers": 0}  # no layer is of the other kind
    for entry in ({**ANY, "attention_kinds": [window]}, every):

        def found(*layers: str, entry: Values = entry) -> Values:
            args = {"num_gpu_blocks_override": 1000, "kv_cache_dtype_skip_layers": list(layers)}
            return plan(entry, kv_cache_dtype="fp8", **args)

        quantized = found()["kv_bytes"]
        assert found("0")["kv_bytes"] == quantized * 17 // 16
        assert found(*map(str, range(16)))["kv_bytes"] == found("sliding_window", "0")["kv_bytes"] == quantized * 2
        assert (found("0")["kv_bytes_per_token"], str(found("0")["reasons"]).count(SKIPPED)) == (0, 0)


@pytest.mark.parametrize(
    ("entry", "layers", "told"),
    [
        (STATEFUL, ["0"], f"the {SKIPPED}"),  # numbers count the layers with states, too
        (STATEFUL, ["47"], f"the {SKIPPED}"),
        (STATEFUL, ["48"], None),
        (MIXED, ["sliding_window"], None),
        (MIXED, ["sliding_window", "0"], f"the numbered {SKIPPED}"),
        (ANY, ["sliding_window"], None),
        (LATENT, ["0"], f"the {SKIPPED}"),
        (LATENT, ["sliding_window"], None),  # it has no windows
        ({**LATENT, "sliding_window": 128}, ["sliding_window"], f"the {SKIPPED}"),
        (COMPRESSED, ["sliding_window"], f"the {SKIPPED}"),
        (COMPRESSED, ["0"], f"the {SKIPPED}"),
        (COMPRESSED, [], None),
    ],
)
def test_layers_in_bf16_that_are_not_planned(entry: Values, layers: list[str], told: str | None) -> None:
    found = plan(entry, kv_cache_dtype="fp8", kv_cache_dtype_skip_layers=layers)
    assert [line for line in found["reasons"] if SKIPPED in line] == ([told] if told else [])
    if told == f"the {SKIPPED}":
        assert found["kv_tokens"] == plan(entry, kv_cache_dtype="fp8")["kv_tokens"]


@pytest.mark.parametrize("name", [name for name in Catalog().models() if "image" in Catalog().models()[name]])
def test_every_model_fits_a_spark_on_its_image(name: str) -> None:
    catalog = Catalog()
    image = catalog.image(catalog.models()[name]["image"])
    entry = catalog.model(name, None, image)
    args = {**GUIDE, **entry["args"], **entry["image_args"]}
    found = plan_with_remedies(entry, SPARK, args, entry["environment"], {}, image["vllm"])
    assert found["fits"], found["problem"]
    assert not [line for line in found["reasons"] if "not planned" in line]


def test_a_model_without_a_cache() -> None:
    found = plan({**ANY, "attention_kinds": []})
    assert (found["fits"], found["kv_tokens"], found["kv_bytes"]) == (True, 0, 0)
    assert "the model keeps nothing of a request: it has no KV cache" in found["reasons"]
    assert not plan({**ANY, "attention_kinds": [], "weights_bytes": 200 * GIB})["fits"]


def test_kinds_of_attention_that_are_listed() -> None:
    plain = plan({**WINDOWS, "layers": 30}, kv_cache_memory_bytes=20 * GIB)
    kinds = [
        {"layers": 5, "kv_heads": 8, "head_dim": 128},
        {"layers": 25, "kv_heads": 8, "head_dim": 128, "sliding_window": 1024},
    ]
    assert plan({**ANY, "attention_kinds": kinds}, kv_cache_memory_bytes=20 * GIB)["kv_tokens"] == plain["kv_tokens"]
    crossed = [kinds[0], {"layers": 5, "kv_heads": 8, "head_dim": 128, "cross": True}]
    assert plan({**ANY, "attention_kinds": crossed}, kv_cache_memory_bytes=20 * GIB)["fits"]


def test_the_uncertainty_is_said() -> None:
    found = plan(ANY)
    assert found["kv_bytes_least"] < found["kv_bytes"] < found["kv_bytes_most"]
    assert found["kv_tokens_least"] < found["kv_tokens"]
    assert any(line.startswith("it may turn out between ") for line in found["reasons"])
    given_ = plan(ANY, kv_cache_memory_bytes=20 * GIB)
    assert given_["kv_bytes_least"] == given_["kv_bytes_most"] == 20 * GIB
    assert given_["kv_tokens_least"] == given_["kv_tokens"]


def test_what_computing_takes_has_causes() -> None:
    shape = {**ANY, "activation_bytes": 100_000, "vocab_size": 250_000, "vision_bytes": 200_000}
    batch = {"max_num_batched_tokens": 8192}
    assert plan(shape, **batch)["activation_bytes"] == 8192 * 200_000  # pictures
    blind_text = {"limit_mm_per_prompt": '{"image": 0, "video": 0}'}
    for blind in ({"limit_mm_per_prompt": {"image": 0, "video": 0}}, blind_text, {"language_model_only": True}):
        assert plan(shape, **batch, **blind)["activation_bytes"] == 8192 * 100_000
    assert plan(shape, **batch, max_num_seqs=1024)["activation_bytes"] == 1024 * 250_000 * 10  # choosing words
    draft = {"speculative_config": {"model": "a/b", "method": "eagle3", "num_speculative_tokens": 3}}
    more = plan({**shape, "vision_bytes": None, "hidden_size": 4096}, **batch, **draft)["activation_bytes"]
    assert more == 8192 * (100_000 + 4096 * 20)
    assert plan(shape, enforce_eager=True)["graph_bytes"] == 0
    assert plan(shape, max_num_seqs=16)["graph_bytes"] < plan(shape, max_num_seqs=256)["graph_bytes"]
