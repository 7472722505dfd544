# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.filter.memory_plan import memory_plan
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.option_values import wrong_value
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import mapping_of, tokens_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.offloading import wrong_size

GIB = 2**30
MODEL = {"id": "a/b", "weights_bytes": GIB, "layers": 8, "kv_heads": 2, "head_dim": 128, "native_context": 8192}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("16384", 16384),
        (" 16384 ", 16384),
        ("16k", 16000),
        ("16K", 16384),
        ("25.6k", 25600),
        ("25.6K", None),  # vLLM refuses these
        ("25.6", None),
        ("20GB", None),
        ("9" * 25, None),
        ("16_384", 16384),
        ("0.02t", 20 * 10**9),
        ("1T", 2**40),
        ("-1", None),
        (16384, 16384),
        (True, None),
    ],
)
def test_numbers_with_a_unit_as_vllm_reads_them(text: t.Any, number: int | None) -> None:
    assert tokens_of(text) == number


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_num_seqs", 8),
        ("max_num_seqs", "8"),
        ("max_num_seqs", None),
        ("seed", -1),
        ("max_logprobs", "-1"),
        ("max_model_len", "auto"),
        ("max_model_len", -1),
        ("max_model_len", "Auto"),
        ("max_num_seqs", "1_024"),
        ("seed", str(2**64 - 1)),
        ("kv_cache_memory_bytes", 0),  # as if it were not given
        ("kv_cache_memory_bytes", "0.02t"),
        ("quantization", "None"),  # no name, but what vLLM reads as not given
        ("speculative_config", "None"),
        ("num_gpu_blocks_override", ""),
        ("speculative_config", {"method": "ngram", "prompt_lookup_max": 4}),  # with spec_tokens beside it
        ("kv_transfer_config", '{"kv_connector_extra_config": {"cpu_bytes_to_use": 20G}}'),
        ("kv_cache_dtype", "TQ3"),  # of a patched image
        ("quantization", "int4"),
        ("kv_offloading_size", 12.5),
        ("mm_processor_cache_gb", 0),
        ("compilation_config", 3),  # a level, in older versions
        ("compilation_config", "3"),
        ("hf_overrides", '{"a": 1}'),
        ("limit_mm_per_prompt", {"video": 0, "image": {"count": 2, "width": 512}}),
        ("speculative_config", {"method": "mtp"}),
        ("lora_modules", ["a=/x", {"name": "b", "path": "/y"}, '{"name": "c", "path": "/z"}']),
        ("lora_modules", "a=/x"),
        ("quantization", "modelopt_fp4"),
        ("cudagraph_capture_sizes", [1, "2"]),
        ("kv_cache_dtype", "turboquant_k8v4"),
        ("tokenizer", 1),  # nothing is known of it
        ("hf_overrides", {"a": "${x}"}),
        ("hf_overrides", '{"a": "${x}"}'),  # the same
        ("kv_transfer_config", '{"kv_connector_extra_config": {"a": "${x}", "cpu_bytes_to_use": 20G}}'),
    ],
)
def test_values_that_vllm_reads(name: str, value: t.Any) -> None:
    assert wrong_value(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("max_num_seqs", 0, "0 is not allowed; use a whole number above 0"),
        ("max_num_seqs", 8.0, "8.0 is not allowed; use a whole number above 0, such as 8"),
        ("max_num_seqs", True, "true is not allowed; use a whole number above 0"),
        ("max_num_seqs", [8], "a list is not allowed; use a whole number above 0"),
        ("seed", "none", '"none" is not allowed; use a whole number'),
        ("max_logprobs", -2, "-2 is not allowed; use a whole number, -1 or more"),
        ("tensor_parallel_size", "auto", '"auto" is not allowed; use a whole number above 0'),
        ("cpu_offload_gb", -4, "-4 is not allowed; use a number of GiB, 0 or more"),
        ("cpu_offload_gb", "nan", '"nan" is not allowed; use a number of GiB, 0 or more'),
        ("quantization", "none", '"none" is a name to vLLM; use null to drop the option'),
        ("load_format", "None", '"None" is a name to vLLM; use null to drop the option'),
        ("kv_cache_dtype", "FP8_E4M3", '"FP8_E4M3" is not allowed; write fp8_e4m3'),
        ("tool_call_parser", ["hermes"], "a list is not allowed; use one name"),
        ("served_model_name", ["a", None], "holds null; remove it from the list"),
        (
            "lora_modules",
            {"mine": "/opt/files/mine"},
            "a mapping is not allowed; use a list of NAME=PATH, or of mappings with name and path",
        ),
        ("kv_cache_dtype", 8, "8 is not allowed; use a name such as fp8 or bfloat16"),
        ("limit_mm_per_prompt", {"image": -1}, "image -1 is not allowed; use a whole number, 0 or more"),
        ("limit_mm_per_prompt", {"video": {"count": "x"}}, 'video "x" is not allowed; use a whole number, 0 or more'),
        (
            "cudagraph_capture_sizes",
            "1,2,4",
            '"1,2,4" is not allowed; use a list of whole numbers such as [1, 2, 4]',
        ),
        ("cudagraph_capture_sizes", [1, 0], "0 is not allowed; use a list of whole numbers such as [1, 2, 4]"),
        ("dtype", "fp8", '"fp8" is not allowed; use auto, half, float16, bfloat16, float, float32'),
        (
            "override_generation_config",
            ["temperature"],
            "a list is not allowed; write override_generation_config: {temperature: 0.6}",
        ),
    ],
)
def test_values_that_no_version_reads(name: str, value: t.Any, line: str) -> None:
    assert wrong_value(name, value) == line


@pytest.mark.parametrize(
    "method",
    [
        *("kimi_k4_mtp", "minimax_m4_mtp", "qwen3_6_mtp", "step3p7_mtp", "mimo_v3_mtp", "deepseek_v4_mtp", "qwen4_mtp"),
        *(
            "glm5_moe_mtp",
            "ernie5_mtp",
            "exaone4_6_mtp",
            "dots4_note_mtp",
            "glm_asr_mtp",
            "nemotron_mtp",
            "hunyuan_mtp",
        ),
        *("peagle", "p_eagle", "eagle4", "medusa2", "ngram_cpu", "lookahead", "draft", "suffix_decoding"),
    ],
)
def test_a_method_of_a_newer_vllm_is_no_slip(method: str) -> None:
    assert wrong_value("speculative_config", {"method": method, "num_speculative_tokens": 3}) is None


@pytest.mark.parametrize(
    ("method", "meant"),
    [
        *(("eagel3", "eagle3"), ("Eagle3", "eagle3"), ("meduza", "medusa"), ("sufix", "suffix"), ("ngrams", "ngram")),
        *(("deepsek_mtp", "deepseek_mtp"), ("deepseek_mpt", "deepseek_mtp"), ("qwen3next_mtp", "qwen3_next_mtp")),
        *(
            ("longcat-flash-mtp", "longcat_flash_mtp"),
            ("draftmodel", "draft_model"),
            ("mlp_spekulator", "mlp_speculator"),
        ),
    ],
)
def test_a_method_with_a_slip(method: str, meant: str) -> None:
    line = wrong_value("speculative_config", {"method": method, "num_speculative_tokens": 3})
    assert line == f'method "{method}" is unknown; did you mean {meant}?'


def test_numbers_with_a_unit_in_json() -> None:
    text = '{"a": 20G, "b": "20G", "c": [1k, 2.5k], "d": "\\" 3G"}'
    assert mapping_of(text) == {"a": 20 * 2**30, "b": "20G", "c": [1000, 2500], "d": '" 3G'}
    assert mapping_of("{'a': 1}") == {}
    assert mapping_of('"\\' * 50000) == {}  # in a moment, though no text in it ends


def connector(**more: t.Any) -> dict[str, t.Any]:
    return {"kv_connector": "OffloadingConnector", "kv_role": "kv_both", "kv_connector_extra_config": more}


@pytest.mark.parametrize(
    ("size", "is_read"), [(8 * GIB, True), (8.5e9, True), (str(GIB), True), ("8GiB", False), ("8e9", False)]
)
def test_sizes_of_a_connector(size: t.Any, is_read: bool) -> None:
    assert (wrong_size("kv_transfer_config", connector(cpu_bytes_to_use=size)) is None) is is_read


@pytest.mark.parametrize(
    ("args", "environment"),
    [
        ({"kv_offloading_size": "20G"}, {}),
        ({"kv_transfer_config": connector(cpu_bytes_to_use="8GiB")}, {}),
        ({}, {"LMCACHE_MAX_LOCAL_CPU_SIZE": "20G"}),
    ],
)
def test_nothing_is_planned_with_a_size_that_cannot_be_read(args: t.Any, environment: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="nothing can be planned for a/b: .* is not allowed; use a"):
        memory_plan(MODEL, 120 * GIB, args, environment)


def test_tokens_beside_the_rest_of_speculative_decoding_are_planned() -> None:
    method = {"method": "eagle3", "model": "a/draft"}
    assert memory_plan(MODEL, 120 * GIB, {"speculative_config": method, "spec_tokens": 8}) == memory_plan(
        MODEL, 120 * GIB, {"speculative_config": {**method, "num_speculative_tokens": 8}}
    )
    assert memory_plan(MODEL, 120 * GIB, {"speculative_config": method, "spec_tokens": 8}) != memory_plan(
        MODEL, 120 * GIB, {}
    )


def test_a_cache_of_no_bytes_is_one_without_a_given_size() -> None:
    assert memory_plan(MODEL, 120 * GIB, {"kv_cache_memory_bytes": 0}) == memory_plan(MODEL, 120 * GIB, {})


def test_a_variable_that_is_null_has_one_line_elsewhere() -> None:
    assert wrong_size("LMCACHE_MAX_LOCAL_CPU_SIZE", None) is None


def test_numbers_in_quotes_are_planned() -> None:
    numbers = {"num_gpu_blocks_override": 1000, "block_size": 32, "tensor_parallel_size": 2}
    assert memory_plan(MODEL, 120 * GIB, numbers) == memory_plan(
        MODEL, 120 * GIB, {name: str(value) for name, value in numbers.items()}
    )
