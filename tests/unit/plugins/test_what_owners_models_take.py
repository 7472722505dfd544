# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes, caches and plans of models in published service files that were once misread here.

Sizes of hybrid models, and of those with two head lengths, are in tests/fixtures/kv_reference, as vLLM computes them.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.filter.memory_plan import memory_plan
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import hub, model_files
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.modules.model_info import weights_bytes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from service_problems import said

GIB = 2**30
OWNERS = Path(__file__).parents[2] / "fixtures" / "owners"


Values = dict[str, t.Any]


# --- how much a token takes, computed by hand from the shapes in config.json -----------------------------------------


@pytest.mark.parametrize("case", json.loads((OWNERS / "token-bytes.json").read_text()), ids=lambda case: case["name"])
def test_bytes_of_a_token_and_layers_with_a_state(case: Values) -> None:
    """In BF16. Models that see or hear, that embed or read speech, hybrids, and attention with windows or a vector."""
    entry, _assumed = entry_of(case["config"], 10**9)
    plan = memory_plan({"id": "a/b", **entry}, 120 * GIB, {"max_model_len": 2048}, vllm="0.32.0")
    assert plan["kv_bytes_per_token"] == case["token"]
    assert entry.get("state_layers", 0) == case["states"]


# --- a language model in a part, blocks one by one -------------------------------------------------------------------


def read(name: str) -> Values:
    return t.cast("Values", json.loads((OWNERS / name).read_text()))


def block(group: int | None, **more: t.Any) -> Values:
    return {"attention": {"n_heads_in_group": group, "no_op": group is None, "replace_with_linear": False, **more}}


TEXT: Values = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32}
BLOCKS: Values = {"num_attention_heads": 16, "hidden_size": 1024, "num_key_value_heads": None}


@pytest.mark.parametrize(
    ("config", "token"),
    [
        (read("model-thinker-part.json"), 6 * 2 * 64),
        (
            {"model_type": "b", "thinker_config": {"text_config": TEXT}, "talker_config": {"text_config": {}}},
            4 * 4 * 32,
        ),
        ({"model_type": "c", "thinker_config": TEXT, "token2wav_config": {"num_hidden_layers": 22}}, 4 * 4 * 32),
        ({"model_type": "d", "llm_config": TEXT, "vision_config": {"num_hidden_layers": 27}}, 4 * 4 * 32),
        ({"model_type": "e", "language_config": TEXT, "vision_config": {"num_hidden_layers": 27}}, 4 * 4 * 32),
        (read("model-block-configs.json"), 2 * 2 * 64),
        ({**BLOCKS, "num_hidden_layers": 3, "block_configs": [block(8), block(None), block(8)]}, 2 * 2 * 64),
        (
            {**BLOCKS, "num_hidden_layers": 2, "block_configs": [block(4), block(None, replace_with_linear=True)]},
            4 * 64,
        ),
        ({**BLOCKS, "num_hidden_layers": 3, "block_configs": [block(4), block(8), block(16)]}, (4 + 2 + 1) * 64),
    ],
)
def test_numbers_of_a_token(config: Values, token: int) -> None:
    """Expected are layers x KV heads x head length, by hand: a pool of so many BF16 keys and values is one block."""
    entry, _assumed = entry_of({"max_position_embeddings": 8192, "hidden_size": 512, **config}, 10**9)
    args = {"max_model_len": 4096, "max_num_batched_tokens": 2048, "kv_cache_memory_bytes": 2 * 2 * token * 16 * 1000}
    found = memory_plan({"id": "a/b", **entry}, 120 * GIB, args, vllm="0.32.0")
    assert found["kv_tokens"] == 16_000


LATENT: Values = {**TEXT, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "index_topk": 2048, "index_head_dim": 128}
WINDOWED: Values = {**TEXT, "index_topk": 512, "index_head_dim": 128, "sliding_window": 128}


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (LATENT, {"index_dim": 128}),
        ({**LATENT, "index_topk_freq": 2}, {"index_dim": 128, "index_layers": 3}),
        ({**LATENT, "index_topk_freq": 4, "index_skip_topk_offset": 3}, {"index_dim": 128, "index_layers": 3}),
        ({**LATENT, "index_topk_pattern": "FSSF"}, {"index_dim": 128, "index_layers": 2}),
        ({**LATENT, "layer_types": ["indexed_attention"] * 4}, {"index_dim": 128}),
        ({**LATENT, "index_kpool": 16}, {"index_dim": 8}),
        (
            {
                **WINDOWED,
                "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
                "layer_types": ["heavily_compressed_attention"] * 3 + ["compressed_sparse_attention"],
            },
            {"index_dim": 128, "compressed": {4: 1, 128: 3}},
        ),
        ({**WINDOWED, "compress_ratios": [0, 4, 128, 4, 0]}, {"index_dim": 128, "compressed": {4: 2, 128: 1}}),
        ({**WINDOWED, "compress_ratios": [1, 4, 4, 4]}, {"index_dim": 128, "compressed": {4: 3}}),
        (
            {**WINDOWED, "compress_ratios": [0, 2, 2, 1, 0], "kv_source_layer_ids": [1, 3]},
            {"index_dim": 128, "compressed": {1: 1, 2: 1}},
        ),
    ],
)
def test_what_sparse_attention_keeps(config: Values, fields: Values) -> None:
    found, assumed = entry_of({"max_position_embeddings": 4096, **config}, 10**9)
    assert {name: found[name] for name in ("index_dim", "index_layers", "compressed") if name in found} == fields
    assert assumed == []


@pytest.mark.parametrize(
    ("config", "attention", "states"),
    [
        ({"model_type": "lfm2", "full_attn_idxs": [1, 3], "conv_L_cache": 3}, 2, 2),
        ({"model_type": "bamba", "attn_layer_indices": [1], "mamba_d_state": 16, "mamba_d_conv": 4}, 1, 3),
        ({"model_type": "jamba", "attn_layer_period": 4, "mamba_d_state": 16, "mamba_d_conv": 4}, 1, 3),
        ({"model_type": "falcon_h1", "mamba_d_state": 16, "mamba_d_conv": 4}, 4, 4),
    ],
)
def test_which_layers_keep_a_state(config: Values, attention: int, states: int) -> None:
    found, assumed = entry_of({**TEXT, "hidden_size": 256, "max_position_embeddings": 4096, **config}, 10**9)
    assert (sum(kind["layers"] for kind in found.get("attention_kinds") or [found]), assumed) == (attention, [])
    assert found["state_layers"] == states


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"interleaved_sliding_window": [512, 512, 512, None]}, [(1, None), (3, 512)]),
        ({"sliding_window": [512, None]}, [(2, None), (2, 512)]),  # a short list repeats
        ({"interleaved_sliding_window": [256, 1024], "num_hidden_layers": 3}, [(2, 256), (1, 1024)]),
        ({"interleaved_sliding_window": 512}, [(4, 512)]),
        ({"interleaved_sliding_window": [0, None]}, [(4, None)]),
        ({"model_type": "ouro", "total_ut_steps": 4}, [(16, None)]),
        ({"model_type": "ouro", "total_ut_steps": 4, "layer_types": ["full_attention"] * 4}, [(16, None)]),
        ({"model_type": "iquestloopcoder"}, [(4, None), (4, 64)]),
        ({"model_type": "iquestloopcoder", "loop_num": 3, "loop_window_size": 32}, [(4, None), (8, 32)]),
    ],
)
def test_windows_that_are_listed_and_layers_that_are_run_again(config: Values, kinds: list[t.Any]) -> None:
    found, assumed = entry_of({**TEXT, "hidden_size": 256, "max_position_embeddings": 4096, **config}, 10**9)
    of_each = [(kind["layers"], kind.get("sliding_window")) for kind in found.get("attention_kinds", [])]
    if not of_each:
        full = found.get("full_attention_layers", found["layers"])
        of_each = [
            (layers, window)
            for layers, window in ((full, None), (found["layers"] - full, found.get("sliding_window")))
            if layers
        ]
    assert (of_each, assumed) == (kinds, [])


KDA: Values = {"model_type": "kimi_linear", "layer_types": ["linear_attention"] * 3 + ["full_attention"]}
OWN_KDA: Values = {"full_attn_layers": [4], "num_heads": 8, "head_dim": 32, "short_conv_kernel_size": 4}


def test_delta_attention_in_the_words_of_its_files_and_of_transformers_is_the_same() -> None:
    latent = {**TEXT, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "max_position_embeddings": 4096}
    newer = {**latent, **KDA, "linear_num_heads": 8, "linear_head_dim": 32, "linear_conv_kernel_dim": 4}
    older = {**latent, "model_type": "kimi_linear", "linear_attn_config": OWN_KDA}
    assert entry_of(newer, 10**9) == entry_of(older, 10**9)
    assert (entry_of(newer, 10**9)[0]["state_layers"], entry_of(newer, 10**9)[1]) == (3, [])


def test_windows_with_a_state_beside_them_are_windows() -> None:
    inkling = {"layer_types": ["hybrid_sliding"] * 3 + ["hybrid"], "sliding_window_size": 512}
    found, assumed = entry_of({**TEXT, **inkling, "swa_num_key_value_heads": 8}, 10**9)
    assert [(kind["layers"], kind.get("sliding_window")) for kind in found["attention_kinds"]] == [(1, None), (3, 512)]
    assert "the state of 4 layers is not counted" in assumed


@pytest.mark.parametrize(
    "config",
    [
        {**TEXT, "sparse_attention_config": {"use_sparse_attention": True}},
        {**WINDOWED, "compress_ratios": [0, 4, 16, 4]},
        {**WINDOWED, "compress_ratios": ["4", {}, None, 4]},
        {**WINDOWED, "compress_ratios": {"4": 2}},
        {**WINDOWED, "compress_ratios": [4, 128]},  # of four layers
        {**TEXT, "index_topk": 2048},
        {**WINDOWED, "compress_ratios": [0, 2, 2, 1]},  # nobody says whose vectors are read
        {**WINDOWED, "compress_ratios": [0, 2, 2, 1], "kv_source_layer_ids": [4]},
        {**WINDOWED, "compress_ratios": [0, 2, 2, 1], "kv_source_layer_ids": [0]},
        {**WINDOWED, "compress_ratios": [0, 2, "2", 1], "kv_source_layer_ids": [2, {}]},
    ],
)
def test_sparse_attention_of_another_kind_is_told(config: Values) -> None:
    found, assumed = entry_of(config, 10**9)
    assert "compressed" not in found
    assert any("is not understood" in line for line in assumed)


@pytest.mark.parametrize(
    ("architecture", "keeps"),
    [
        ("LlamaBidirectionalModel", False),
        ("LlamaBidirectionalForSequenceClassification", False),
        ("LlamaNemotronVLModel", False),
        ("VoyageQwen3BidirectionalEmbedModel", False),
        ("LlamaForCausalLM", True),
    ],
)
def test_a_decoder_that_vllm_makes_an_encoder_keeps_nothing(architecture: str, keeps: bool) -> None:
    found, _assumed = entry_of({**TEXT, "architectures": [architecture]}, 10**9)
    assert (found.get("attention_kinds") != []) is keeps


def test_a_long_context_of_a_pair_with_compressed_vectors_fits() -> None:
    """With a whole vector for each token it would need 86 GiB."""
    flash = {**WINDOWED, "num_hidden_layers": 43, "head_dim": 512, "num_key_value_heads": 1}
    flash |= {"compress_ratios": [0, 0, *[4, 128] * 20, 4, 0], "max_position_embeddings": 1048576}
    found, _assumed = entry_of(flash, 160 * 10**9)
    args = {"max_model_len": 1048576, "max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.85}
    planned = memory_plan({"id": "a/b", **found}, 120 * GIB, args, hosts=2, vllm="0.32.0")
    assert (planned["fits"], planned["kv_cache_dtype"], planned["block_tokens"]) == (True, "fp8", 4)
    assert not memory_plan({"id": "a/b", **found, "compressed": None}, 120 * GIB, args, hosts=2, vllm="0.32.0")["fits"]


@pytest.mark.parametrize(
    ("context", "batch", "drafts", "tokens", "requests"),
    [(262144, 8192, 0, 4_741_995, 18.09), (262144, 2048, 3, 7_558_586, 28.83), (1048576, 8192, 0, 7_616_016, 7.26)],
)
def test_vectors_that_other_layers_read(context: int, batch: int, drafts: int, tokens: int, requests: float) -> None:
    """DeepSeek V4.1. Expected is what vLLM 0.32 makes of what its layers ask for, in 16 GiB."""
    newer = {**WINDOWED, "num_hidden_layers": 40, "head_dim": 512, "num_key_value_heads": 1}
    newer |= {"compress_ratios": [0, 0, *[2] * 18, *[1] * 20, 0, 0, 0], "kv_source_layer_ids": [2, 8, 14, 20]}
    newer |= {"max_position_embeddings": 1048576, "n_mtp_layers": 3, "dspark_target_layer_ids": [37, 38, 39]}
    found, assumed = entry_of({"model_type": "deepseek_v41", "text_config": newer}, 10**9)
    args: Values = {"max_model_len": context, "max_num_batched_tokens": batch, "kv_cache_memory_bytes": 16 * GIB}
    if drafts:
        args["speculative_config"] = {"method": "dspark", "num_speculative_tokens": 5}
    planned = memory_plan({"id": "a/b", **found}, 120 * GIB, args, vllm="0.32.0")
    assert (planned["kv_tokens"], planned["sequences"], assumed) == (tokens, requests, [])


@pytest.mark.parametrize("option", ["cpu_offload_gb", "kv_offloading_size"])
def test_memory_beside_that_of_the_gpu_is_the_same_memory(option: str) -> None:
    entry = {"id": "a/b", "weights_bytes": 20 * 10**9, "layers": 8, "kv_heads": 2, "head_dim": 128}
    args = {"max_model_len": 8192, "gpu_memory_utilization": 0.8, option: 8}
    plain = memory_plan(entry, 120 * GIB, {**args, option: None}, vllm="0.32.0")
    beside = memory_plan(entry, 120 * GIB, args, vllm="0.32.0")
    assert beside["needed_bytes"] == plain["needed_bytes"] + 8 * GIB
    assert (plain["fits"], beside["fits"]) == (True, True)
    refused = memory_plan(entry, 120 * GIB, {**args, option: "24"}, vllm="0.32.0")
    offloaded = {"cpu_offload_gb": 18.6, "kv_offloading_size": 24.0}[option]  # no more weights than there are
    assert f"{offloaded} GiB of offloading lie beside the 96.0 GiB that vLLM may use" in refused["problem"]


def test_a_latent_cache_of_sparse_attention_in_8_bits_keeps_scales_and_positions() -> None:
    found, _assumed = entry_of(LATENT, 10**9)
    args = {"max_model_len": 4096, "kv_cache_dtype": "fp8"}
    planned = memory_plan({"id": "a/b", **found, "native_context": 4096}, 120 * GIB, args, vllm="0.32.0")
    assert planned["kv_bytes_per_token"] == 4 * (656 + 132)


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "vector"),
    [
        ("auto", 256),
        ("fp8_e4m3", 128),
        ("nvfp4", 72),
        ("int4_per_token_head", 68),
        ("int8_per_token_head", 132),
        ("fp8_per_token_head", 132),
    ],
)
def test_the_bytes_of_a_token_by_the_type_of_the_cache(dtype: str, vector: int) -> None:
    """8 layers of 2 heads of 128 numbers, keys and values; by hand, as vLLM's AttentionSpec has it."""
    args = {"max_model_len": 8192, "kv_cache_dtype": dtype}
    assert memory_plan(MODEL, 120 * GIB, args, vllm="0.32.0")["kv_bytes_per_token"] == 8 * 2 * 2 * vector


MODEL: Values = {
    "id": "a/b",
    "weights_bytes": 20 * 10**9,
    "layers": 8,
    "kv_heads": 2,
    "head_dim": 128,
    "native_context": 262144,
    "config_context": 262144,
}
LONG = {"max_model_len": 1_000_000, "gpu_memory_utilization": 0.9, "max_num_batched_tokens": 8192}


@pytest.mark.parametrize(
    ("environment", "is_refused"),
    [
        ({"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}, False),
        ({"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "true"}, False),
        ({"VLLM_ALLOW_LONG_MAX_MODEL_LEN": 1}, False),
        ({"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "0"}, True),
        ({"VLLM_ALLOW_LONG_MAX_MODEL_LEN": ""}, True),
        ({}, True),
    ],
)
def test_a_context_beyond_that_of_the_model(environment: Values, is_refused: bool) -> None:
    found = memory_plan(MODEL, 120 * GIB, {**LONG, "kv_cache_dtype": "fp8"}, environment)
    assert bool(found["problem"]) is is_refused
    line = said(vllm_model="nemotron3-super", vllm_max_model_len=1_000_000, vllm_extra_env=environment)
    assert line.startswith("vllm_max_model_len: 1000000 is over the 262144 tokens") is is_refused
    assert bool(line) is is_refused


@pytest.mark.parametrize(
    ("gigabytes", "args", "vllm", "fits"),
    [
        (141, {"quantization": "fp8"}, None, True),
        (141, {}, None, False),
        (141, {"quantization": "fp8"}, "0.28.0", True),
        (141, {"quantization": "FP8"}, "0.28.0", True),
        (141, {"quantization": "fp8"}, "0.10.1.1", False),  # which loads all of it before it quantizes
        (260, {"quantization": "fp8"}, "0.28.0", False),
        (100, {"quantization": "fp8"}, "0.20.1", True),
    ],
)
def test_weights_that_are_quantized_while_loading(gigabytes: int, args: Values, vllm: str | None, fits: bool) -> None:
    model = {**MODEL, "weights_bytes": gigabytes * 10**9}
    short = {"max_model_len": 32768, "gpu_memory_utilization": 0.9, "max_num_batched_tokens": 8192}
    assert memory_plan(model, 120 * GIB, {**short, **args}, vllm=vllm)["fits"] is fits


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        ("vllm/vllm-openai:v0.27.1-aarch64", "0.27.1"),
        ("vllm/vllm-openai:v0.31.0-aarch64-cu129", "0.31.0"),
        ("docker.io/vllm/vllm-openai:v0.30.0rc1", "0.30.0rc1"),
        ("vllm/vllm-openai:v0.30.0rc1.dev45-aarch64", "0.30.0rc1.dev45"),
        ("registry.example/mirror/vllm-openai:v0.29.0-cu130", "0.29.0"),
        ("nvcr.io/nvidia/vllm:26.08.post2-py3", "0.27.1"),
        ("registry.example/nvidia/vllm:26.09-py3", "0.29.0"),
        ("vllm/vllm-openai:nightly-0123456789abcdef", None),
        ("vllm-node:latest", None),
    ],
)
def test_the_version_that_a_tag_names(ref: str, version: str | None) -> None:
    assert Catalog().image(ref, {}, True)["vllm"] == version


# --- weights and caches ----------------------------------------------------------------------------------------------


class Files:
    def __init__(self, **files: Values | int) -> None:
        self.files = files

    def read_json(self, name: str) -> Values | None:
        found = self.files.get(name)
        return found if isinstance(found, dict) else None

    def size(self, name: str) -> int | None:
        found = self.files.get(name)
        return found if isinstance(found, int) else None


SAFE, BIN, OWN = "model.safetensors.index.json", "pytorch_model.bin.index.json", "consolidated.safetensors.index.json"


def index(*names: str, **metadata: t.Any) -> Values:
    return {"metadata": metadata, "weight_map": dict(enumerate(names))}


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({SAFE: index("a.safetensors", "b.safetensors"), "a.safetensors": 7, "b.safetensors": 5}, 12),
        ({SAFE: index("a.safetensors", "a.safetensors"), "a.safetensors": 7}, 7),
        ({SAFE: index("a.safetensors", total_size="12"), "a.safetensors": 7}, 7),
        ({SAFE: {"weight_map": {"x": "a.safetensors"}}, "a.safetensors": 7}, 7),
        ({SAFE: index("a.safetensors", total_size=12.0)}, 12),
        ({"pytorch_model.bin": 9}, 9),
        ({BIN: index("p-1.bin", "p-2.bin"), "p-1.bin": 4, "p-2.bin": 5}, 9),
        ({"consolidated.safetensors": 6}, 6),
        ({OWN: index("consolidated-1.safetensors"), "consolidated-1.safetensors": 6}, 6),
        ({"model.safetensors": 7, "consolidated.safetensors": 6}, 7),
        ({SAFE: index("a.safetensors", "b.safetensors"), "a.safetensors": 7}, None),  # broken off
    ],
)
def test_the_size_of_weights(files: Values, size: int | None) -> None:
    assert weights_bytes(Files(**files)) == size


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("consolidated.safetensors model-1.safetensors model-2.safetensors", "model-1.safetensors model-2.safetensors"),
        ("consolidated-00001-of-00002.safetensors model.safetensors", "model.safetensors"),
        ("consolidated.safetensors", "consolidated.safetensors"),
        (f"{OWN} {SAFE} model-1.safetensors", f"model-1.safetensors {SAFE}"),
        ("model.safetensors pytorch_model.bin", "model.safetensors"),
    ],
)
def test_weights_are_downloaded_once(there: str, wanted: str) -> None:
    assert model_files.select(there.split()) == wanted.split()


@pytest.mark.parametrize("tree", ["", "hub"])
@pytest.mark.parametrize(("revision", "ref"), [("main", "main"), ("v1", "v1"), ("a" * 40, "main")])
def test_every_part_finds_a_model_in_a_cache(tmp_path: Path, tree: str, revision: str, ref: str) -> None:
    repository = tmp_path / tree / "models--a--b"
    (repository / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / ref).write_text("a" * 40)
    assert hub.Cache(str(tmp_path), "a/b", revision).folder == str(repository / "snapshots" / ("a" * 40))
    assert model_files.look_up(str(tmp_path), "a/b", revision).commit == "a" * 40
