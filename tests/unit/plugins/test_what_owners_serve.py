# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What published service files of Sparks had that was once misread here, a few cases of each kind."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes import causes
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.port_holder import holder_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm import api, log
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import to_argv, version_key
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve
from service_problems import said

GUIDE = "nvcr.io/nvidia/vllm:25.09-py3"
V0_26 = "vllm/vllm-openai:v0.26.0-aarch64-cu129-ubuntu2404"

Values = dict[str, t.Any]


# --- a model that is newer than the image ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "image"),
    [
        ("example-org/Qwen3.6-35B-A3B-NVFP4", GUIDE),
        ("example-org/gemma-4-26B-A4B-it-NVFP4", GUIDE),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4", "nvcr.io/nvidia/vllm:25.11-py3"),
        ("zai-org/GLM-4.7-Flash", "nvcr.io/nvidia/vllm:25.12-py3"),
        ("mistralai/Ministral-3-14B-Instruct-2512", GUIDE),
    ],
)
def test_a_model_that_the_image_cannot_run_is_refused_with_one_that_can(model: str, image: str) -> None:
    line = said(vllm_model=model, vllm_image=image)
    assert line.startswith("vllm_image:")
    assert "use " in line
    checked, _wrong = TypedValues.of(options_of("vllm"), {"vllm_model": model})
    chosen = resolve(checked, Catalog()).image
    assert version_key(chosen["vllm"]) > version_key("0.12")
    assert said(vllm_model=model, vllm_image=chosen["ref"]) == ""


def test_a_method_that_only_a_patched_image_may_have() -> None:
    options = {"quantization": "NVFP4"}
    refused = 'vllm_extra_args.quantization: "NVFP4" is no method of vLLM; use null, because the files of the model'
    assert said(vllm_image=GUIDE, vllm_extra_args=options) == f"{refused} say their format"
    newest = {"vllm_image": "vllm/vllm-openai:v0.33.0", "vllm_image_allow": ["unknown"]}  # upstream's own, too
    assert said(**newest, vllm_extra_args=options) == f"{refused} say their format"
    own = {"example.org/own:1": {"vllm": "0.28.0"}}
    noted = said(vllm_image="example.org/own:1", vllm_images=own, vllm_extra_args=options)
    assert noted.startswith('vllm_image: "example.org/own:1" must have this method of its own: "NVFP4"')


@pytest.mark.parametrize("model", ["qwen3-8b-fp8", "example-org/Qwen3-14B", "example-org/Llama-3.1-8B"])
def test_a_model_that_the_image_can_run(model: str) -> None:
    assert said(vllm_model=model, vllm_image=GUIDE) == ""


@pytest.mark.parametrize(
    ("architecture", "last"),
    [
        ("Phi4FlashForCausalLM", "0.10.2"),
        ("MotifForCausalLM", "0.11.0"),
        ("AquilaForCausalLM", "0.24.0"),
        ("Phi4FlashForCausalLM,MotifForCausalLM", "0.11.0"),
    ],
)
def test_a_model_that_vllm_has_dropped_is_refused_with_an_image_that_has_it(architecture: str, last: str) -> None:
    """What its name does not tell, its config.json does, once the host is asked."""
    checked, _wrong = TypedValues.of(options_of("vllm"), {"vllm_model": "example-org/dropped"})
    info = {"id": "example-org/dropped", "architectures": architecture.split(",")}
    refusal = resolve(checked, Catalog(), model_info=info).image_refusal
    instead = refusal.rpartition("use ")[2].split(",")[0]
    assert "any more" in refusal
    assert version_key(Catalog().images()[instead]["vllm"]) <= version_key(last)


# --- variables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["/srv/models/mine", "/home/dgx/my-7b.v2", "/opt/hf/own/x", "/data/a b", "./mine", "~/mine", "../x", "."]
)
def test_a_model_in_a_folder(model: str) -> None:
    """A whole path is served, and everything else that looks like one is refused with how it is written."""
    line = said(vllm_model=model)
    is_good = model.startswith("/") and " " not in model
    assert (line == "") is is_good
    assert is_good or line.startswith("vllm_model: ")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"limit_mm_per_prompt.video": 0}, "limit_mm_per_prompt: {video: 0"),
        ({"compilation_config.cudagraph_mode": "FULL"}, 'compilation_config: {cudagraph_mode: "FULL"}'),
        ({"hf_overrides.rope_parameters.factor": 2}, "hf_overrides: {rope_parameters: {factor: 2"),
        ({"allowed_media_domains": ""}, ""),
        ({"limit_mm_per_prompt": {"video": 0, "image": 2}}, ""),
        ({"override_generation_config": {"temperature": 0.6}}, ""),
        ({"default_chat_template_kwargs": {"enable_thinking": False}}, ""),
        ({"served_model_name": ["a", "b/c"]}, ""),
        ({"max_model_len": "128k"}, "vllm_max_model_len"),
        ({"max_num_batched_tokens": "16k", "kv_cache_memory_bytes": "20G", "cpu_offload_gb": "1.5"}, ""),
        ({"max_num_seqs": "1k"}, "use a whole number above 0, such as 1000"),
        ({"kv_cache_memory_bytes": "20 GiB"}, "such as 20G"),
        ({"kv_cache_memory_bytes": 2e10}, "such as 20000000000"),
        ({"max_num_batched_tokens": "1.5K"}, "such as 1536"),
        ({"limit_mm_per_prompt": "image=2,video=0"}, "write limit_mm_per_prompt: {image: 2, video: 0}"),
        ({"speculative_config": "{'method': 'mtp'}"}, "write speculative_config: {method: mtp, num_speculative"),
        ({"speculative_config": '{"method": "ngram", "num_speculative_tokens": "3"}'}, ""),
        ({"speculative_config": {"method": "ngram", "num_speculative_tokens": 0}}, "num_speculative_tokens 0 is not"),
        ({"speculative_config": {"method": "ngram", "prompt_lookup_max": 4}}, "num_speculative_tokens is missing"),
        ({"speculative_config": {"method": "ngram", "num-speculative-tokens": 4}}, ""),
        ({"speculative_config": {"method": "ngram", "prompt_lookup_max": 4}, "spec_tokens": 3}, ""),
        ({"speculative_config": {"method": "eagel3", "num_speculative_tokens": 3}}, "did you mean eagle3?"),
        ({"speculative_config": {"method": "MTP", "num_speculative_tokens": 3}}, "did you mean mtp?"),
        ({"speculative_config": {"method": "qwen3-next-mtp", "num_speculative_tokens": 3}}, "mean qwen3_next_mtp?"),
        ({"speculative_config": {"method": "mtp", "num_speculative_token": 3}}, "did you mean num_speculative_tokens?"),
        ({"speculative_config": {"method": "mtp", "num_spec_tokens": 3}}, "did you mean num_speculative_tokens?"),
        ({"speculative_config": '{"method": "eagle3", "draft_model": "a/b"}'}, "did you mean model?"),
        ({"speculative_config": {"method": "suffix", "suffix_decoding_max_tree_depth": 24}}, ""),
        ({"speculative_config": {"method": "dflash2", "model": "a/b", "own_kernel": 1}}, ""),  # of a patched image
        ({"spec_method": "ngram"}, "num_speculative_tokens is missing"),
        ({"kv_cache_dtype": "FP8"}, "write fp8"),
        ({"dtype": "bf16"}, "write bfloat16"),
        ({"override_generation_config": {"stop": ["=/opt/hf", "/opt/hf"]}}, ""),
        ({"lora_modules": ["mine=/opt/hf/adapter"]}, "/root/.cache/huggingface/adapter"),
        ({"enable_prefix_caching": False}, ""),
        ({"served_model_name": "{served_model_name}"}, 'nothing replaces "{served_model_name}" here'),
        ({"served_model_name": ["a", "${NAME:-b}"]}, 'nothing replaces "${NAME:-b}" here; write the value itself'),
        ({"tokenizer": "$MODEL"}, "nothing replaces"),
        ({"max_num_seqs": "{max_num_seqs}"}, "nothing replaces"),
        ({"hf_overrides": "{}"}, ""),
        ({"chat_template": "{{ messages }}${x}"}, ""),
        ({"hf_overrides": '{"a": "${NAME}"}'}, ""),
        ({"served_model_name": '["a", "${NAME}"]'}, "nothing replaces"),
        ({"max_num_seqs": 10**20}, "use a smaller number"),
        ({"seed": "2" + "0" * 19}, "use a smaller number"),
    ],
)
def test_how_options_are_written(args: Values, words: str) -> None:
    line = said(vllm_model="example-org/Qwen3-8B", vllm_image=V0_26, vllm_extra_args=args)
    assert words in line
    assert bool(line) is bool(words)


def test_a_number_that_is_refused_is_no_measure_of_another() -> None:
    line = said(vllm_model="example-org/Qwen3-8B", vllm_image=V0_26, vllm_extra_args={"max_num_seqs": 2**64})
    assert line == "vllm_extra_args.max_num_seqs: 18446744073709551616 is not allowed; use a smaller number"


@pytest.mark.parametrize(
    ("name", "value", "is_refused"),
    [
        ("LD_LIBRARY_PATH", "${ORIGIN}/../${LIB}:/opt/${PLATFORM}", False),
        ("LD_PRELOAD", "${ORIGIN}/x.so", False),
        ("LD_LIBRARY_PATH", "$ORIGIN", False),
        ("LD_LIBRARY_PATH", "${ORIGIN}:${LD_LIBRARY_PATH}", True),
        ("PYTHONPATH", "${ORIGIN}", True),
        ("MY_CONFIG", '{"a": "${x}"}', False),  # for whoever reads it
        ("MY_CONFIG", "{a: ${x}}", True),
    ],
)
def test_words_that_something_else_replaces(name: str, value: str, is_refused: bool) -> None:
    line = said(vllm_model="example-org/Qwen3-8B", vllm_image=V0_26, vllm_extra_env={name: value})
    assert ("nothing replaces" in line) is bool(line) is is_refused


@pytest.mark.parametrize(("share", "word"), [(0.035, "0.035"), (0.125, "0.125"), (0.9209, "0.9209"), (0.9, "0.90")])
def test_a_share_keeps_its_digits(share: float, word: str) -> None:
    assert to_argv({"gpu_memory_utilization": share}) == ["--gpu-memory-utilization", word]


@pytest.mark.parametrize(
    ("image", "value", "is_told"),
    [
        ("vllm/vllm-openai:v0.25.1-aarch64", "ray", True),
        ("vllm/vllm-openai:v0.28.0", "ray", True),
        ("nvcr.io/nvidia/vllm:26.05-py3", "ray", True),
        ("nvcr.io/nvidia/vllm:26.09-py3", "ray", True),
        ("nvcr.io/nvidia/vllm:26.09-py3", "mp", False),
        ("nvcr.io/nvidia/vllm:26.04-py3", "ray", False),
    ],
)
def test_ray_where_there_is_none(image: str, value: str, is_told: bool) -> None:
    line = said(
        vllm_model="example-org/Qwen3-8B", vllm_image=image, vllm_extra_args={"distributed_executor_backend": value}
    )
    assert ("Ray" in line) is is_told


QWEN = {"vllm_model": "example-org/Qwen3-8B"}
POOLING = {"vllm_image": "vllm/vllm-openai:v0.28.0", "vllm_extra_args": {"runner": "pooling"}}
RERANKER = {"architectures": ["Qwen3ForSequenceClassification"], "is_original_qwen3_reranker": True}
START = {"content": 'exec vllm serve "$@"', "target": "/opt/files/start.sh"}
PACKAGES = "/usr/local/lib/python3.12/dist-packages"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({**QWEN, "hf_cache_path": "/home/dgx/.cache/huggingface/hub"}, id="models in a home"),
        pytest.param({**QWEN, "vllm_mounts": [{"source": "/srv/data", "target": "/data"}]}, id="a mount"),
        pytest.param(
            {**QWEN, "vllm_files": [START], "vllm_entrypoint": ["bash", "/opt/files/start.sh"]}, id="a script"
        ),
        pytest.param({**QWEN, "vllm_files": [{**START, "target": f"{PACKAGES}/vllm/x.py"}]}, id="a patch"),
        pytest.param({**POOLING, "vllm_model": "Qwen/Qwen3-Embedding-8B"}, id="an embedding"),
        pytest.param(
            {
                **POOLING,
                "vllm_model": "Qwen/Qwen3-Reranker-0.6B",
                "vllm_extra_args": {"runner": "pooling", "hf_overrides": RERANKER},
            },
            id="a reranker",
        ),
        pytest.param(
            {**POOLING, "vllm_model": "openai/whisper-large-v3", "vllm_max_model_len": 448, "vllm_extra_args": {}},
            id="speech",
        ),
        pytest.param({**QWEN, "vllm_service_name": "vllm-b", "vllm_port": 8001}, id="a second service"),
        pytest.param({**QWEN, "vllm_container_name": "qwen", "vllm_ipc": "private"}, id="own names"),
        pytest.param(
            {
                "vllm_model": "example-org/Qwen3.6-35B-A3B",
                "vllm_extra_args": {"speculative_config": {"method": "mtp", "num_speculative_tokens": 3}},
            },
            id="MTP",
        ),
        pytest.param(
            {
                **QWEN,
                "vllm_nodes": ["spark01", "spark02"],
                "vllm_node_address": "192.168.100.1",
                "vllm_image": "vllm/vllm-openai:v0.28.0",
            },
            id="two hosts",
        ),
    ],
)
def test_what_service_files_need_can_be_written(values: Values) -> None:
    assert said(**values) == ""


@pytest.mark.parametrize(
    ("image", "allow", "lines"), [("vllm-node", ["moving", "unknown"], 2), ("vllm-node:20260901", ["unknown"], 1)]
)
def test_an_image_that_only_the_host_has(image: str, allow: list[str], lines: int) -> None:
    """It is allowed, and each thing that is not known of it is said."""
    line = said(**QWEN, vllm_image=image, vllm_image_allow=allow)
    assert len(line.splitlines()) == lines
    assert "is not in the image matrix" in line
    assert "use" in said(**QWEN, vllm_image=image)


# --- the server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "requests", "context", "label", "expected"),
    [
        ("2,656", "0.54", "8,192", None, 4424),  # blocks by groups: six of them
        ("177,440", "35.75", "8,192", None, 292_864),  # M: Gemma 4 on a Spark, vLLM 0.20.0
        ("587,504", "4.74", "262,144", None, 1_242_563),  # M: Qwen3.6 on a Spark
        ("145,632", "4.44", "32,768", None, 145_632),  # one group: the line has more digits than the product
        ("1,000", "0.12", "8,192", "145632", 145_632),  # newer ones say it themselves
    ],
)
def test_the_size_of_the_cache_is_requests_times_context(
    tokens: str, requests: str, context: str, label: str | None, expected: int
) -> None:
    lines = f"INFO GPU KV cache size: {tokens} tokens\n"
    lines += f"INFO Maximum concurrency for {context} tokens per request: {requests}x\n"
    extra = f',kv_cache_size_tokens="{label}"' if label else ""
    metrics = api.parse_metrics(f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="1000"{extra}}} 1.0\n')
    assert metrics is not None
    assert (metrics.kv_cache_tokens or log.parse(lines).kv_cache_tokens) == pytest.approx(expected, rel=1e-4)


TEMPLATE = "ValueError: The supplied chat template ({}) looks like a file path, but it failed to be opened. {}"
NOT_THERE = "Tried: t.jinja and /x/t.jinja. Reason: [Errno 2] No such file or directory: 't.jinja'"
RAY = "ValueError: Failed to import Ray: No module named 'ray'.Please install Ray with `pip install ray`."


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (RAY, "multi_node_unknown"),
        ("ImportError: Ray is not installed. Please install Ray to use distributed serving.", "multi_node_unknown"),
        ("ImportError: Please install vllm[fastsafetensors] for fastsafetensors support", "package_extra"),
        ("ImportError: Please install vllm[runai] for runai support", "package_extra"),
        ("ImportError: Please install vllm[audio] for audio support", "package_extra"),
        (TEMPLATE.format("t.jinja", NOT_THERE), "chat_template"),
        (TEMPLATE.format("/t/a.jinja", "Reason: [Errno 13] Permission denied: '/t/a.jinja'"), "chat_template"),
        (
            "ValueError: The supplied chat template string (x.jinja) appears path-like, but doesn't exist!",
            "chat_template",
        ),
    ],
)
def test_fatal_lines_have_a_cause(line: str, cause: str) -> None:
    found = causes.recognize(line)
    assert found is not None
    assert (found.id, found.certain) == (cause, True)


# --- other containers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "is_vllm"),
    [
        ("sleep infinity", False),  # vLLM was started in it by `docker exec`
        ("tail -f /dev/null", False),
        ("bash", False),
        ("/bin/bash -c while true; do sleep 3600; done", False),
        ("vllm serve a/b", True),
        ("python3 -m vllm.entrypoints.openai.api_server --model a/b", True),
        ("bash -c exec vllm serve a/b", True),
    ],
)
def test_a_container_that_sleeps_is_not_taken_over(command: str, is_vllm: bool) -> None:
    """It could only be started again as a sleeper."""
    path, *args = command.split()
    entry = {"Id": "1" * 64, "Name": "/x", "Path": path, "Args": args, "State": {"Running": True}}
    found = holder_of(json.dumps([{**entry, "Config": {"Image": "vllm-node"}, "HostConfig": {}}]))
    assert found is not None
    assert found["is_vllm"] is is_vllm
