# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From config.json to an entry: what families write differently. The journey `plan` does it with real engines."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.config_values import ConfigError
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.model_config import entry_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.fields import MODEL_FIELDS

QWEN3 = {
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 4096,
    "max_position_embeddings": 40960,
}
LINEAR = {
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


def entry(**changes: t.Any) -> dict[str, t.Any]:
    config = {**QWEN3, **changes}
    found, assumed = entry_of({name: value for name, value in config.items() if value is not None}, 10)
    assert set(found) <= set(MODEL_FIELDS)
    return {**found, "assumed": assumed}


def test_it_is_what_the_catalog_says() -> None:
    ours = Catalog().model("qwen3-8b-fp8")
    found = entry()
    for name in ("layers", "kv_heads", "head_dim", "config_context"):
        assert found[name] == ours[name]
    assert found["assumed"] == []


def test_what_is_left_out() -> None:
    found = entry(head_dim=None, num_key_value_heads=None)
    assert (found["head_dim"], found["kv_heads"]) == (128, 32)


def test_a_model_that_sees() -> None:
    found, _assumed = entry_of({"text_config": QWEN3, "vision_config": {"num_hidden_layers": 27}}, 10)
    assert found["layers"] == 36


def test_gemma_3_leaves_to_transformers_what_it_knows() -> None:
    """S: config.json of google/gemma-3-4b-it and of google/gemma-3-27b-it, as far as it is read."""
    small = {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024}
    large = {**small, "hidden_size": 5376, "num_hidden_layers": 62, "head_dim": 128, "num_attention_heads": 32}
    large |= {"num_key_value_heads": 16, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    for text, figures in ((small, (34, 4, 256, 5)), (large, (62, 16, 128, 10))):
        found, assumed = entry_of({"model_type": "gemma3", "text_config": text}, 10)
        assert tuple(found[key] for key in ("layers", "kv_heads", "head_dim", "full_attention_layers")) == figures
        assert (found["sliding_window"], found["config_context"], assumed) == (1024, 131072, [])


def test_a_latent_cache() -> None:
    assert entry(kv_lora_rank=512, qk_rope_head_dim=64)["latent_dim"] == 576


@pytest.mark.parametrize(
    ("changes", "window", "full"),
    [
        ({"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 18}, 128, 18),
        ({"sliding_window": 512, "sliding_window_pattern": 6}, 512, 6),
        ({"sliding_window": 4096, "model_type": "mistral"}, 4096, 0),
        # named, and not used
        ({"sliding_window": 4096, "use_sliding_window": False}, None, None),
        ({"sliding_window": None, "model_type": "mistral"}, None, None),
    ],
)
def test_windows(changes: dict[str, t.Any], window: int | None, full: int | None) -> None:
    found = entry(**changes)
    assert (found.get("sliding_window"), found.get("full_attention_layers")) == (window, full)
    assert (found["layers"], found["assumed"]) == (36, [])


NINE_TIMES = (["linear_attention"] * 3 + ["full_attention"]) * 9


@pytest.mark.parametrize("kinds", [{"full_attention_interval": 4}, {"layer_types": NINE_TIMES}])
def test_states(kinds: dict[str, t.Any]) -> None:
    found = entry(**LINEAR, **kinds, mamba_ssm_dtype="float32")
    assert (found["layers"], found["state_layers"]) == (9, 27)
    assert found["state_bytes"] == 2 * (2 * 16 * 128 + 32 * 128) * 3 + 4 * 32 * 128 * 128


def test_a_context_that_is_left_to_transformers() -> None:
    found = entry(max_position_embeddings=None)
    assert not {"native_context", "config_context"} & set(found)
    assert found["assumed"] == [
        "its config.json has no max_position_embeddings: the wanted context is taken for allowed"
    ]


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 163840),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, 81920),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2}, "sliding_attention": {}}}, 81920),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
            131072,
        ),
        # which have it in max_position_embeddings
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 10, "original_max_position_embeddings": 4096}},
            40960,
        ),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}}, 40960),
        ({"rope_scaling": {"type": "longrope", "factor": 8.0}}, 40960),
        ({"rope_scaling": {"type": "mrope", "factor": 8.0}}, 40960),
        ({"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "model_type": "gemma3_text"}, 40960),
        ({"rope_scaling": {"rope_type": "linear", "factor": None}}, 40960),
        ({"rope_scaling": "linear"}, 40960),
    ],
)
def test_stretched_positions(changes: dict[str, t.Any], limit: int) -> None:
    found = entry(**changes)
    assert (found["native_context"], found["config_context"]) == (40960, limit)


FLOAT8 = {"num_bits": 8, "type": "float"}
UNKNOWN = "the KV cache that its checkpoint asks for (of an unknown kind) is planned as BF16"


@pytest.mark.parametrize(
    ("quantization", "dtype", "assumed"),
    [
        ({"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}, "fp8", []),
        ({"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}, "fp8", []),
        ({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None}}, None, []),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8", []),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, None, []),
        ({"quant_method": "modelopt", "kv_cache_scheme": {**FLOAT8, "dynamic": False}}, "fp8", []),
        ({"quant_method": "modelopt", "kv_cache_scheme": {**FLOAT8, "dynamic": True}}, None, [UNKNOWN]),
        ({"quant_method": "other", "kv_cache_quant_algo": "FP8"}, None, [UNKNOWN.replace("of an unknown kind", "FP8")]),
        (
            {"quantization": {"kv_cache_quant_algo": "NVFP4"}},
            None,
            ["the KV cache that its checkpoint asks for (NVFP4) is planned as BF16"],
        ),
    ],
)
def test_the_cache_of_a_quantized_checkpoint(
    quantization: dict[str, t.Any], dtype: str | None, assumed: list[str]
) -> None:
    found = entry(quantization_config=quantization)
    assert (found.get("kv_cache_dtype"), found["assumed"]) == (dtype, assumed)


MAMBA = {
    "mamba_num_heads": 8,
    "mamba_head_dim": 32,
    "ssm_state_size": 64,
    "n_groups": 2,
    "conv_kernel": 4,
    "chunk_size": 128,
}
MAMBA_STATE = 2 * (8 * 32 + 2 * 2 * 64) * 3 + 4 * 8 * 32 * 64


@pytest.mark.parametrize(
    "kinds",
    [
        {"hybrid_override_pattern": "M-M*-M-M*-"},
        {"layers_block_type": [*["mamba", "mlp", "mamba", "attention", "moe"] * 2], "num_hidden_layers": None},
        {"layer_types": ["mamba", "mamba", "attention", "mamba", "full_attention", "mamba"]},
    ],
)
def test_hybrids_with_mamba(kinds: dict[str, t.Any]) -> None:
    found = entry(model_type="nemotron_h", **MAMBA, **kinds)
    assert (found["layers"], found["state_layers"], found["state_bytes"]) == (2, 4, MAMBA_STATE)
    assert (found["state_matrix"], found["state_width"], found["state_chunk"]) == (8 * 32 * 64, 4, 128)
    assert found["assumed"] == []


def test_other_names_of_the_same_state() -> None:
    names = {"mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 64, "mamba_n_groups": 2, "mamba_d_conv": 4}
    found = entry(model_type="granitemoehybrid", layer_types=["mamba", "attention"], **names)
    assert found["state_bytes"] == MAMBA_STATE - 2 * 8 * 32 * 64  # BF16, if nothing else is said
    found = entry(layer_types=["mamba", "attention"], **names, mamba_ssm_cache_dtype="float32")
    assert found["state_bytes"] == MAMBA_STATE


def test_a_state_that_is_not_known_is_said() -> None:
    found = entry(hybrid_override_pattern="M-M*-M-M*-")
    assert (found["layers"], found["assumed"]) == (2, ["the state of 4 layers is not counted"])


@pytest.mark.parametrize("name", ["layers_block_type", "hybrid_override_pattern", "block_configs"])
def test_hybrids_that_are_not_understood_are_planned_dear_and_said(name: str) -> None:
    assert entry(**{name: 8})["assumed"] == [
        f"its {name} is not understood: all 36 layers are planned as full attention"
    ]


def test_attention_in_every_nth_layer() -> None:
    jamba = {"mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2}
    found = entry(attn_layer_period=8, attn_layer_offset=4, num_hidden_layers=32, **jamba)
    assert (found["layers"], found["state_layers"]) == (4, 28)
    assert found["state_bytes"] == 2 * 8192 * 3 + 2 * 8192 * 16


def test_two_head_lengths() -> None:
    kinds = (["sliding_attention"] * 5 + ["full_attention"]) * 6
    found = entry(layer_types=kinds, sliding_window=1024, global_head_dim=256, num_global_key_value_heads=2)
    assert found["attention_kinds"] == [
        {"layers": 6, "kv_heads": 2, "head_dim": 256},
        {"layers": 30, "kv_heads": 8, "head_dim": 128, "sliding_window": 1024},
    ]
    shared = entry(layer_types=kinds, sliding_window=1024, num_kv_shared_layers=18)
    assert (shared["layers"], shared["full_attention_layers"]) == (18, 3)


def test_blocks_that_are_listed_one_by_one() -> None:
    def block(share: int | None, **more: bool) -> dict[str, t.Any]:
        return {"attention": {"n_heads_in_group": share, "no_op": False, "replace_with_linear": False, **more}}

    blocks = [block(4), block(None, no_op=True), block(4), block(None, replace_with_linear=True), block(8)]
    found = entry(block_configs=blocks, num_key_value_heads=None)
    kinds = [{"layers": 2, "kv_heads": 8, "head_dim": 128}, {"layers": 1, "kv_heads": 4, "head_dim": 128}]
    assert (found["layers"], found["attention_kinds"]) == (3, kinds)
    found = entry(block_configs=blocks[:4], num_key_value_heads=None)
    assert (found["layers"], found["kv_heads"], "attention_kinds" in found) == (2, 8, False)


def test_groups_of_layers_whose_last_is_full() -> None:
    """Ling 3 has Kimi's state in the others, Ring a matrix for each head; by hand, as vLLM's model files have it."""
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "num_attention_heads": 16}
    ling = {**latent, "model_type": "bailing_hybrid", "layer_group_size": 4, "short_conv_kernel_size": 4}
    found = entry(**ling, num_hidden_layers=24)
    assert (found["layers"], found["latent_dim"], found["state_layers"]) == (6, 576, 18)
    assert found["state_bytes"] == 2 * 3 * 16 * 128 * 3 + 4 * 16 * 128 * 128
    rest = entry(**ling, num_hidden_layers=26)
    assert (rest["layers"], rest["state_layers"]) == (8, 18)
    ring = entry(**{**ling, "short_conv_kernel_size": None}, num_hidden_layers=26)
    assert (ring["layers"], ring["state_layers"], ring["state_bytes"]) == (6, 20, 2 * 16 * 128 * 128)


def test_windows_that_are_listed_by_their_layer() -> None:
    local = [layer for layer in range(40) if layer % 4 != 3]
    listed = {"num_hidden_layers": 40, "local_layer_ids": local, "sliding_window_size": 512}
    found = entry(model_type="inkling_text", **listed, swa_num_key_value_heads=16)
    assert found["attention_kinds"] == [
        {"layers": 10, "kv_heads": 8, "head_dim": 128},
        {"layers": 30, "kv_heads": 16, "head_dim": 128, "sliding_window": 512},
    ]
    assert found["assumed"] == ["the state of 40 layers is not counted"]


def test_an_index_beside_keys_and_values() -> None:
    found = entry(indexer_head_dim=128, indexer_compress_ratio=4, **LINEAR, full_attention_interval=4)
    assert (found["layers"], found["index_dim"], found["assumed"]) == (9, 32, [])


def test_a_language_model_in_a_part_of_a_part() -> None:
    config = {"thinker_config": {"text_config": QWEN3}, "talker_config": {"text_config": {"num_hidden_layers": 2}}}
    assert entry_of(config, 10)[0]["layers"] == 36


def test_chunks_and_an_encoder() -> None:
    found = entry(layer_types=["chunked_attention"] * 27 + ["full_attention"] * 9, attention_chunk_size=8192)
    assert found["attention_kinds"][1] == {"layers": 27, "kv_heads": 8, "head_dim": 128, "attention_chunk": 8192}
    whisper = {"d_model": 1280, "decoder_layers": 32, "decoder_attention_heads": 20, "max_target_positions": 448}
    found, _assumed = entry_of({**whisper, "is_encoder_decoder": True}, 10)
    assert [kind.get("cross") for kind in found["attention_kinds"]] == [None, True]
    assert found["config_context"] == 448
    turbo = {**whisper, "decoder_layers": 4, "num_hidden_layers": 32, "is_encoder_decoder": True}
    assert [kind["layers"] for kind in entry_of(turbo, 10)[0]["attention_kinds"]] == [4, 4]


def test_what_embeds_keeps_nothing() -> None:
    assert entry(model_type="xlm-roberta")["attention_kinds"] == []
    assert entry(is_causal=False)["attention_kinds"] == []


def test_mistrals_own_form() -> None:
    found, assumed = entry_of(
        {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "hidden_dim": 14336}, 10
    )
    assert (found["layers"], found["kv_heads"], found["head_dim"]) == (32, 8, 128)
    assert len(assumed) == 1


def test_what_computing_needs() -> None:
    dense = entry(intermediate_size=12288, vocab_size=151936)
    assert dense["activation_bytes"] == 2 * 2 * 4096 + 7 * 12288
    assert (dense["hidden_size"], dense["vocab_size"]) == (4096, 151936)
    experts = entry(num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, hidden_size=2048)
    wide = entry(num_experts=128, num_experts_per_tok=16, moe_intermediate_size=768, hidden_size=2048)
    assert 1.8 < wide["activation_bytes"] / experts["activation_bytes"] < 2
    vision = {"hidden_size": 1152, "intermediate_size": 4304, "spatial_merge_size": 2}
    assert entry_of({"text_config": QWEN3, "vision_config": vision}, 10)[0]["vision_bytes"] > 0
    assert "vision_bytes" not in dense


def test_what_is_not_known_is_planned_dear_and_said() -> None:
    assert entry(sliding_window=4096)["assumed"] == ["its window of 4096 tokens is planned as full attention"]
    found = entry(layer_types=["full_attention"] * 30 + ["a_new_attention"] * 6)
    assert (found["layers"], found["assumed"]) == (
        36,
        ["6 layers of kind a_new_attention are planned as full attention"],
    )
    found = entry(layer_types=["full_attention"] * 30 + ["linear_attention"] * 6)
    assert (found["layers"], found["assumed"]) == (30, ["the state of 6 layers is not counted"])
    found = entry(layer_types=["full_attention"] * 30 + ["chunked_attention"] * 6)
    assert found["assumed"] == ["it names chunks of unknown size: all its attention is planned as full"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": None}, "no num_hidden_layers"),
        ({"num_attention_heads": "many"}, "no num_attention_heads"),
        ({"head_dim": None, "hidden_size": None}, "neither head_dim nor hidden_size"),
        ({"layer_types": ["linear_attention"] * 36}, "no layer with attention"),
    ],
)
def test_too_little(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        entry(**changes)


# S: most of vLLM 0.32's _SPECULATIVE_DECODING_MODELS, and what checkpoints call themselves.
DRAFTS = [
    *("MiMoMTPModel", "MiMoV2OmniMTPModel", "EagleCohereForCausalLM", "EagleLlama4ForCausalLM"),
    *("EagleMiniCPMForCausalLM", "DFlashDraftModel", "LiLiCorrDraftModel", "DFlash2DraftModel"),
    *("MuseGlimmerAssistantModel", "DFlashMuseGlimmerAssistantModel", "DSparkDraftModel", "DSparkV41DraftModel"),
    *("Qwen3DSparkModel", "K3DSparkModel", "DFlashLagunaForCausalLM", "Gemma4DSparkModel", "PEagleDraftModel"),
    *("PeagleLlamaForCausalLM", "Eagle3LlamaForCausalLM", "LlamaForCausalLMEagle3", "Eagle3Qwen2_5vlForCausalLM"),
    *("PeagleQwen3ForCausalLM", "EagleMistralLarge3ForCausalLM", "Eagle3DeepseekV3ForCausalLM"),
    *("EagleDeepSeekMTPModel", "DeepseekV32MTPModel", "MiniMaxM3MTP", "Gemma4MTPModel", "ExaoneMoeMTP"),
    *("Exaone4_5_MTP", "LongCatFlashMTPModel", "GlmOcrMTPModel", "MedusaModel", "Qwen3NextMTP", "Qwen3_5MoeMTP"),
    *("InternS2MobiusMTP", "Gemma4AssistantForCausalLM", "Gemma4UnifiedAssistantForCausalLM", "Eagle3Speculator"),
    "DFlashSpeculator",
]


@pytest.mark.parametrize("architecture", DRAFTS)
def test_a_draft_model_serves_nothing_alone(architecture: str) -> None:
    with pytest.raises(ConfigError, match=rf"{architecture} is a draft model, .* speculative_config"):
        entry(architectures=[architecture])


@pytest.mark.parametrize(
    "architecture",
    [
        "LlamaForCausalLM",
        "Eagle2_5_VLForConditionalGeneration",
        "Gemma4ForCausalLM",
        "MossAudioModel",
    ],
)
def test_what_is_no_draft(architecture: str) -> None:
    assert entry(architectures=[architecture])["architectures"] == [architecture]


@pytest.mark.parametrize("more", [{}, {"quantization_config": {"group_size": 64, "bits": 4}}])
def test_weights_of_mlx(more: dict[str, t.Any]) -> None:
    assert entry(quantization={"group_size": 64, "bits": 4, "mode": "affine"}, **more)["quantization"] == "mlx"
    assert entry(quantization_config={"quant_method": "exl3", "bits": 4})["quantization"] == "exl3"


def test_a_method_that_vllm_reads_counts_more_than_words_of_mlx() -> None:
    words = {"group_size": 128, "bits": 4}
    assert entry(quantization=words, quantization_config={"quant_method": "gptq", **words})["quantization"] == "gptq"


def test_a_model_that_sees_is_no_draft_for_its_name() -> None:
    assert entry(architectures=["EagleVLForConditionalGeneration"])["layers"]


@pytest.mark.parametrize(
    ("named", "told"), [("Qwen/Qwen3-8B", "serve Qwen/Qwen3-8B,"), ("\x1b[1m/x", "serve that one,")]
)
def test_a_draft_that_names_its_model(named: str, told: str) -> None:
    made_for = {"verifier": {"name_or_path": named}}
    with pytest.raises(ConfigError, match=told):
        entry(architectures=["Eagle3Speculator"], speculators_config=made_for)


def test_the_name_of_a_draft_is_shown_as_plain_text() -> None:
    with pytest.raises(ConfigError, match="^Mine MTP is a draft"):
        entry(architectures=["\x1b[31mMine\nMTP"])
