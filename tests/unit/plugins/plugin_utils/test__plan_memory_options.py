# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What options, environment and versions of vLLM change in the memory plan."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.per_image import speculative_config
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.remedies import plan_with_remedies
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.words import GIB
from planned_models import ANY, GUIDE, LATENT, SPARK, STATEFUL, plan

COMPRESSED = {**ANY, "head_dim": 512, "index_dim": 128, "sliding_window": 128, "compressed": {4: 16, 128: 14}}

Values = dict[str, t.Any]


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
