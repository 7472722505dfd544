# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines in the style of owners of Sparks, written in variables: what the container gets says the same.

Kinds of needs, not anybody's file. The container may get more options, those of the profile; none with another value.
"""

from __future__ import annotations

import json
import shlex
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems

CATALOG, KNOWN = Catalog(), options_of("vllm")
SPARK = {"memory": {"total_bytes": 130_663_448_576}}
UPSTREAM, NGC = "vllm/vllm-openai:v0.28.0", "nvcr.io/nvidia/vllm:26.09-py3"
Values = dict[str, t.Any]


def options(words: t.Iterable[str]) -> dict[str, list[t.Any]]:
    """Words by the option that they follow; JSON as what it says."""
    found: dict[str, list[t.Any]] = {"": []}
    last = ""
    for word in words:
        if word.startswith("--"):
            last = word
            found[last] = []
            continue
        try:
            found[last].append(json.loads(word))
        except ValueError:
            found[last].append(word)
    return found


MTP = {"method": "mtp", "num_speculative_tokens": 3}
DRAFT = {"method": "dflash", "model": "/models/drafter", "num_speculative_tokens": 10}
RERANKER = {"architectures": ["Qwen3ForSequenceClassification"], "is_original_qwen3_reranker": True}
BUILT_HERE = {"vllm_image": "vllm-node", "vllm_image_allow": ["moving", "unknown"]}
PACKAGES = "/usr/local/lib/python3.12/dist-packages"
FILMS = {"video": {"fps": 2, "num_frames": 256}}
MATRYOSHKA = {"is_matryoshka": True, "matryoshka_dimensions": [64, 256, 1024]}
CLASSES = {"classifier_from_token": ["A", "B"], "method": "no_post_processing", "num_labels": 2}
DSPARK = {"method": "dspark", "num_speculative_tokens": 7, "draft_sample_method": "greedy"}
ASSISTANT = {"method": "mtp", "model": "some-org/assistant", "num_speculative_tokens": 4, "moe_backend": "triton"}
CONNECTOR = {
    "kv_connector": "UCMConnector",
    "kv_role": "kv_both",
    "kv_connector_extra_config": {"UCM_CONFIG_FILE": "/opt/files/cache.yaml"},
}
CASES: list[tuple[str, str, Values, Values, list[str]]] = [
    (
        "a recipe with MTP",
        "nvidia/Qwen3.6-35B-A3B-NVFP4 --gpu-memory-utilization 0.50 --max-model-len 262144 --kv-cache-dtype fp8"
        f" --moe-backend marlin --speculative-config '{json.dumps(MTP)}' --reasoning-parser qwen3"
        " --enable-auto-tool-choice --tool-call-parser qwen3_xml --max-num-seqs 8 --async-scheduling",
        {
            "vllm_model": "qwen36-35b-a3b-nvfp4",
            "vllm_image": UPSTREAM,
            "vllm_gpu_memory_utilization": 0.5,
            "vllm_max_model_len": 262144,
            "vllm_extra_args": {
                "kv_cache_dtype": "fp8",
                "moe_backend": "marlin",
                "speculative_config": MTP,
                "max_num_seqs": 8,
                "reasoning_parser": "qwen3",
                "enable_auto_tool_choice": True,
                "tool_call_parser": "qwen3_xml",
                "async_scheduling": True,
            },
        },
        {},
        [],
    ),
    (
        "an image of the host, a model in a folder",
        "/models/mine --load-format fastsafetensors --attention-backend flashinfer --max-model-len 131072",
        {
            "vllm_model": "/models/mine",
            "vllm_image": "vllm-node",
            "vllm_image_allow": ["moving", "unknown"],
            "vllm_max_model_len": 131072,
            "vllm_extra_args": {"load_format": "fastsafetensors", "attention_backend": "flashinfer"},
        },
        {},
        ["/models/mine"],
    ),
    (
        "a context beyond the model's, a parser of one's own",
        "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4 --max-model-len 1000000 --reasoning-parser super_v3"
        " --reasoning-parser-plugin /opt/files/parser.py --mamba-ssm-cache-dtype float16 --max-num-seqs 4",
        {
            "vllm_model": "nemotron3-super",
            "vllm_max_model_len": 1_000_000,
            "vllm_extra_env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"},
            "vllm_files": [{"content": "x = 1", "target": "/opt/files/parser.py"}],
            "vllm_extra_args": {
                "reasoning_parser": "super_v3",
                "reasoning_parser_plugin": "/opt/files/parser.py",
                "mamba_ssm_cache_dtype": "float16",
                "max_num_seqs": 4,
            },
        },
        {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"},
        [],
    ),
    (
        "a draft in a folder, language only",
        f"/models/body --speculative-config '{json.dumps(DRAFT)}' --quantization modelopt --language-model-only"
        " --max-num-batched-tokens 32768",
        {
            "vllm_model": "/models/body",
            "vllm_image": "ghcr.io/some-org/vllm-dflash:2026-04-28",
            "vllm_image_allow": ["unknown"],
            "vllm_mounts": [{"source": "/models/drafter", "target": "/models/drafter"}],
            "vllm_extra_args": {
                "speculative_config": DRAFT,
                "quantization": "modelopt",
                "language_model_only": True,
                "max_num_batched_tokens": 32768,
            },
        },
        {},
        ["/models/body", "/models/drafter"],
    ),
    (
        "a reranker",
        f"Qwen/Qwen3-Reranker-4B --runner pooling --hf-overrides '{json.dumps(RERANKER)}'"
        " --chat-template /opt/files/rerank.jinja --gpu-memory-utilization 0.12",
        {
            "vllm_model": "Qwen/Qwen3-Reranker-4B",
            "vllm_image": UPSTREAM,
            "vllm_service_name": "vllm-rerank",
            "vllm_gpu_memory_utilization": 0.12,
            "vllm_files": [{"content": "{}", "target": "/opt/files/rerank.jinja"}],
            "vllm_extra_args": {
                "runner": "pooling",
                "hf_overrides": RERANKER,
                "chat_template": "/opt/files/rerank.jinja",
            },
        },
        {},
        [],
    ),
    (
        "adapters, pictures from a folder",
        "some-org/Qwen3-VL-8B --enable-lora --lora-modules sql=/adapters/sql notes=/adapters/notes"
        ' --limit-mm-per-prompt \'{"image": 4, "video": 0}\' --allowed-local-media-path /data/images',
        {
            "vllm_model": "some-org/Qwen3-VL-8B",
            "vllm_image": UPSTREAM,
            "vllm_mounts": [
                {"source": "/srv/adapters", "target": "/adapters"},
                {"source": "/srv/images", "target": "/data/images"},
            ],
            "vllm_extra_args": {
                "enable_lora": True,
                "lora_modules": ["sql=/adapters/sql", "notes=/adapters/notes"],
                "limit_mm_per_prompt": {"image": 4, "video": 0},
                "allowed_local_media_path": "/data/images",
            },
        },
        {},
        ["/srv/adapters", "/srv/images"],
    ),
    (
        "not root, offline, sizes with a letter, an option switched off",
        "Qwen/Qwen3-14B-FP8 --kv-cache-memory-bytes 4800M --no-enable-prefix-caching --served-model-name a b",
        {
            "vllm_model": "Qwen/Qwen3-14B-FP8",
            "vllm_image": UPSTREAM,
            "vllm_container_user": "1000:1000",
            "vllm_hf_offline": True,
            "vllm_extra_args": {
                "kv_cache_memory_bytes": "4800M",
                "enable_prefix_caching": False,
                "served_model_name": ["a", "b"],
            },
        },
        {"HF_HUB_OFFLINE": "1"},
        [],
    ),
    (
        "Mistral's own files",
        "mistralai/Devstral-Small-2507 --tokenizer-mode mistral --config-format mistral --load-format mistral",
        {
            "vllm_model": "mistralai/Devstral-Small-2507",
            "vllm_image": UPSTREAM,
            "vllm_extra_args": dict.fromkeys(("tokenizer_mode", "config_format", "load_format"), "mistral"),
        },
        {},
        [],
    ),
    (
        "two Sparks",
        "deepseek-ai/DeepSeek-V4-Flash --block-size 256 --kv-cache-dtype fp8 --tokenizer-mode deepseek_v4"
        " --tensor-parallel-size 2 --distributed-executor-backend mp --nnodes 2",
        {
            "vllm_model": "deepseek-ai/DeepSeek-V4-Flash",
            "vllm_image": NGC,
            "vllm_nodes": ["spark01", "spark02"],
            "vllm_node_address": "192.168.100.1",
            "vllm_extra_args": {"block_size": 256, "kv_cache_dtype": "fp8", "tokenizer_mode": "deepseek_v4"},
        },
        {},
        [],
    ),
    (
        "a diffusing model: JSON with null, a template of one's own",
        "some-org/diffusion-26B-NVFP4 --diffusion-config '{\"canvas_length\": 256}' --attention-backend TRITON_ATTN"
        " --override-generation-config '{\"max_new_tokens\": null}' --chat-template /opt/files/fixed.jinja",
        {
            "vllm_model": "some-org/diffusion-26B-NVFP4",
            **BUILT_HERE,
            "vllm_files": [{"content": "{}", "target": "/opt/files/fixed.jinja"}],
            "vllm_extra_args": {
                "diffusion_config": {"canvas_length": 256},
                "attention_backend": "TRITON_ATTN",
                "override_generation_config": {"max_new_tokens": None},
                "chat_template": "/opt/files/fixed.jinja",
            },
        },
        {},
        [],
    ),
    (
        "pictures, films and sound",
        'some-org/Omni-30B --limit-mm-per-prompt \'{"video": 1, "image": 1, "audio": 1}\''
        f" --media-io-kwargs '{json.dumps(FILMS)}' --allowed-local-media-path /data",
        {
            "vllm_model": "some-org/Omni-30B",
            "vllm_image": UPSTREAM,
            "vllm_mounts": [{"source": "/srv/media", "target": "/data"}],
            "vllm_extra_args": {
                "limit_mm_per_prompt": {"video": 1, "image": 1, "audio": 1},
                "media_io_kwargs": FILMS,
                "allowed_local_media_path": "/data",
            },
        },
        {},
        ["/srv/media"],
    ),
    (
        "an image by tag and digest, a draft in the checkpoint, an empty variable",
        f"some-org/DeepSeek-V4-REAP --speculative-config '{json.dumps(DSPARK)}' --moe-backend flashinfer_b12x"
        " --kv-cache-dtype fp8 --block-size 256 --max-cudagraph-capture-size 32 --generation-config vllm",
        {
            "vllm_model": "some-org/DeepSeek-V4-REAP",
            "vllm_image": f"ghcr.io/some-org/dspark-vllm:0.1.1@sha256:{'a8' * 32}",
            "vllm_image_allow": ["unknown"],
            "vllm_extra_env": {"VLLM_B12X_FORCE_TILE_CONFIG": "", "VLLM_USE_B12X_MOE": "1"},
            "vllm_extra_args": {
                "speculative_config": DSPARK,
                "moe_backend": "flashinfer_b12x",
                "kv_cache_dtype": "fp8",
                "block_size": 256,
                "max_cudagraph_capture_size": 32,
                "generation_config": "vllm",
            },
        },
        {"VLLM_B12X_FORCE_TILE_CONFIG": "", "VLLM_USE_B12X_MOE": "1"},
        [],
    ),
    (
        "weights quantized at the start, a draft with a kernel of its own",
        f"google/gemma-4-26B-A4B-it --quantization fp8 --speculative-config '{json.dumps(ASSISTANT)}'",
        {
            "vllm_model": "google/gemma-4-26B-A4B-it",
            "vllm_extra_args": {"quantization": "fp8", "speculative_config": ASSISTANT},
        },
        {},
        [],
    ),
    (
        "two Sparks, a cache connector with a file of its own",
        f"some-org/MiMo-Flash --kv-transfer-config '{json.dumps(CONNECTOR)}' --no-async-scheduling"
        " --tensor-parallel-size 2 --reasoning-parser mimo",
        {
            "vllm_model": "some-org/MiMo-Flash",
            **BUILT_HERE,
            "vllm_nodes": ["spark01", "spark02"],
            "vllm_node_address": "192.168.100.1",
            "vllm_files": [{"content": "store: posix", "target": "/opt/files/cache.yaml"}],
            "vllm_extra_args": {
                "kv_transfer_config": CONNECTOR,
                "async_scheduling": False,
                "reasoning_parser": "mimo",
            },
        },
        {},
        [],
    ),
    (
        "options of a patched image",
        "openai/gpt-oss-120b --mxfp4-backend CUTLASS --mxfp4-layers moe,qkv,o,lm_head --quantization mxfp4",
        {
            "vllm_model": "gpt-oss-120b",
            "vllm_image": "vllm-mxfp4:1",
            "vllm_images": {"vllm-mxfp4:1": {"options": ["mxfp4_backend", "mxfp4_layers"]}},
            "vllm_extra_args": {
                "mxfp4_backend": "CUTLASS",
                "mxfp4_layers": "moe,qkv,o,lm_head",
                "quantization": "mxfp4",
            },
        },
        {},
        [],
    ),
    (
        "a patched file of vLLM, a name with a blank, a level of optimization",
        "some-org/gemma-4-31B --served-model-name 'Gemma 4 31B:FP8' --optimization-level 3 --mm-encoder-tp-mode data",
        {
            "vllm_model": "some-org/gemma-4-31B",
            "vllm_image": UPSTREAM,
            "vllm_files": [{"content": "x = 1", "target": f"{PACKAGES}/vllm/model_executor/models/gemma4_mtp.py"}],
            "vllm_extra_args": {
                "served_model_name": "Gemma 4 31B:FP8",
                "optimization_level": 3,
                "mm_encoder_tp_mode": "data",
            },
        },
        {},
        [],
    ),
    (
        "a cache of fixed size beside others, embeddings",
        "Qwen/Qwen3-Embedding-8B --runner pooling --kv-cache-memory-bytes 1610612736 --gpu-memory-utilization 0.25",
        {
            "vllm_model": "Qwen/Qwen3-Embedding-8B",
            "vllm_image": UPSTREAM,
            "vllm_service_name": "vllm-embed",
            "vllm_port": 8002,
            "vllm_gpu_memory_utilization": 0.25,
            "vllm_extra_args": {"runner": "pooling", "kv_cache_memory_bytes": 1610612736},
        },
        {},
        [],
    ),
    (
        "a snapshot of a cache, pinned",
        "some-org/Nano-30B-NVFP4 --revision ab537beb128913d389306a4d0cc1a2097ac5a5af --max-model-len 32768",
        {
            "vllm_model": "some-org/Nano-30B-NVFP4",
            "hf_cache_path": "/srv/vllm/hub",
            "vllm_image": UPSTREAM,
            "vllm_max_model_len": 32768,
            "vllm_extra_args": {"revision": "ab537beb128913d389306a4d0cc1a2097ac5a5af"},
        },
        {},
        [],
    ),
    (
        "an entry point, a drafter in a folder, three names, states in float32, a number for a variable",
        f"/models/nvfp4 --served-model-name a b c --speculative-config '{json.dumps({**DRAFT, 'model': '/drafter'})}'"
        " --mamba-cache-dtype float32 --mm-encoder-tp-mode data --trust-remote-code",
        {
            "vllm_model": "/home/me/models/nvfp4",
            "vllm_image": "ghcr.io/some-org/vllm:1",
            "vllm_image_allow": ["unknown"],
            "vllm_entrypoint": ["vllm"],
            "vllm_mounts": [{"source": "/home/me/models/drafter", "target": "/drafter"}],
            "vllm_extra_env": {"CUTE_DSL_ARCH": "sm_121a", "VLLM_ENABLE_CUDA_COMPATIBILITY": 0},
            "vllm_extra_args": {
                "served_model_name": ["a", "b", "c"],
                "speculative_config": {**DRAFT, "model": "/drafter"},
                "mamba_cache_dtype": "float32",
                "mm_encoder_tp_mode": "data",
                "trust_remote_code": True,
            },
        },
        {"CUTE_DSL_ARCH": "sm_121a", "VLLM_ENABLE_CUDA_COMPATIBILITY": 0},
        ["/home/me/models/nvfp4", "/home/me/models/drafter"],
    ),
    (
        "embeddings of several lengths",
        "Qwen/Qwen3-VL-Embedding-2B --runner pooling --gpu-memory-utilization 0.32"
        " --pooler-config '{\"dimensions\": 1024}'"
        f" --hf-overrides '{json.dumps(MATRYOSHKA)}'",
        {
            "vllm_model": "Qwen/Qwen3-VL-Embedding-2B",
            "vllm_image": UPSTREAM,
            "vllm_gpu_memory_utilization": 0.32,
            "vllm_extra_args": {
                "runner": "pooling",
                "pooler_config": {"dimensions": 1024},
                "hf_overrides": MATRYOSHKA,
            },
        },
        {},
        [],
    ),
    (
        "a language model that classifies",
        f"/models/judge --runner pooling --convert classify --hf-overrides '{json.dumps(CLASSES)}' --enforce-eager"
        ' --pooler-config \'{"pooling_type": "LAST", "use_activation": false}\' --max-model-len 3072',
        {
            "vllm_model": "/srv/models/judge",
            "vllm_image": UPSTREAM,
            "vllm_max_model_len": 3072,
            "vllm_extra_args": {
                "runner": "pooling",
                "convert": "classify",
                "hf_overrides": CLASSES,
                "enforce_eager": True,
                "pooler_config": {"pooling_type": "LAST", "use_activation": False},
            },
        },
        {},
        ["/srv/models/judge"],
    ),
    (
        "speech as it is spoken",
        "mistralai/Voxtral-Mini-4B-Realtime-2602 --tokenizer-mode mistral --config-format mistral --load-format mistral"
        ' --compilation-config \'{"cudagraph_mode": "PIECEWISE"}\'',
        {
            "vllm_model": "mistralai/Voxtral-Mini-4B-Realtime-2602",
            "vllm_image": UPSTREAM,
            "vllm_extra_args": {
                **dict.fromkeys(("tokenizer_mode", "config_format", "load_format"), "mistral"),
                "compilation_config": {"cudagraph_mode": "PIECEWISE"},
            },
        },
        {},
        [],
    ),
    (
        "windows that stay in BF16 beside a quantized cache",
        "openai/gpt-oss-120b --kv-cache-dtype fp8 --kv-cache-dtype-skip-layers sliding_window --async-scheduling"
        " --tool-call-parser openai --enable-auto-tool-choice --reasoning-parser openai_gptoss",
        {
            "vllm_model": "openai/gpt-oss-120b",
            "vllm_image": UPSTREAM,
            "vllm_extra_args": {
                "kv_cache_dtype": "fp8",
                "kv_cache_dtype_skip_layers": ["sliding_window"],
                "async_scheduling": True,
                "tool_call_parser": "openai",
                "enable_auto_tool_choice": True,
                "reasoning_parser": "openai_gptoss",
            },
        },
        {},
        [],
    ),
    (
        "two Sparks, a draft in the checkpoint",
        f"deepseek-ai/DeepSeek-V4-Flash --speculative-config '{json.dumps(DSPARK)}' --tensor-parallel-size 2",
        {
            "vllm_model": "deepseek-ai/DeepSeek-V4-Flash",
            "vllm_image": "some-org/spark-vllm:1",
            "vllm_image_allow": ["unknown"],
            "vllm_nodes": ["spark01", "spark02"],
            "vllm_node_address": "10.0.0.1",
            "vllm_extra_args": {"speculative_config": DSPARK},
        },
        {},
        [],
    ),
    (
        "numbers as texts, sizes of graphs, a cache that grows into the host",
        "Qwen/Qwen3-4B --max-num-seqs 8 --cudagraph-capture-sizes 1 2 4 8 --seed 0 --kv-offloading-size 8"
        f" --kv-offloading-backend native --kv-transfer-config '{json.dumps(CONNECTOR)}'",
        {
            "vllm_model": "Qwen/Qwen3-4B",
            "vllm_image": UPSTREAM,
            "vllm_files": [{"content": "store: posix", "target": "/opt/files/cache.yaml"}],
            "vllm_extra_args": {
                "max_num_seqs": "8",
                "cudagraph_capture_sizes": [1, 2, 4, 8],
                "seed": 0,
                "kv_offloading_size": 8,
                "kv_offloading_backend": "native",
                "kv_transfer_config": json.dumps(CONNECTOR),
            },
        },
        {},
        [],
    ),
]


@pytest.mark.parametrize(
    ("line", "values", "environment", "mounts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_container_gets_what_the_line_says(
    line: str, values: Values, environment: Values, mounts: list[str]
) -> None:
    assert problems("vllm", values, KNOWN, CATALOG) == []
    checked, _wrong = TypedValues.of(KNOWN, values)
    service = resolve(checked, CATALOG, SPARK)
    wanted, given = options(shlex.split(line)), options(service.arguments)
    assert {name: given.get(name) for name in wanted} == wanted
    assert {name: service.environment.get(name) for name in environment} == environment
    assert set(mounts) <= {mount["source"] for mount in service.mounts}
