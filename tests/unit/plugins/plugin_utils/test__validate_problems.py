# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule: a table of what is refused, with the line that the operator reads, and a table of what is not."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import moves
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of, read_specs
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.text import show
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate import problems as validate_problems
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.renamed import RENAMED
from validated import defaults, problems

from support.bad_inputs import (
    BAD,
    BAD_HOST,
    BETWEEN,
    DIGEST,
    KEY,
    LATEST_RECORDED,
    OWN_MODEL,
    TOKEN,
    Values,
    one,
    own_model,
)

EVERY = [*(("vllm", values, line) for values, line in BAD), *BAD_HOST]
FIX = re.compile(r"\b(use|set|write|did you mean|remove|rename|give|correct|drop)\b|known: |lists what there is")


def words_of(value: t.Any) -> set[str]:
    """Every name and value in what the user wrote, as a message shows them."""
    if isinstance(value, dict):
        return {word for pair in value.items() for part in pair for word in words_of(part)}
    if isinstance(value, list):
        return {word for part in value for word in words_of(part)} | {"a list"}
    return {str(value), show(value)}


def test_there_are_many_ways_to_be_wrong() -> None:
    assert len({line for _role, _values, line in EVERY}) >= 80


@pytest.mark.parametrize(("role", "values", "line"), EVERY, ids=[line[:70] for _role, _values, line in EVERY])
def test_bad_input_is_refused_with_one_line(role: str, values: Values, line: str) -> None:
    """The line names a variable of the role, what the user wrote there, and a way out. No secret is in it."""
    found = problems(values, role)
    assert line in found
    assert role == "vllm" or found == [line]
    assert "\n" not in line
    assert re.match(rf"({role}|hf_cache)_[a-z_]+", line)
    assert FIX.search(line)
    secret = any(name in validate_problems.secrets_of(options_of(role)) for name in values)
    assert secret or any(word in line for name, value in values.items() for word in {name, *words_of(value)})
    for kept in (TOKEN, KEY):
        assert kept not in " ".join(found)


# What one bad value makes of others is not their fault: nothing else is said.
@pytest.mark.parametrize(
    "values",
    [
        one("vllm_model", "nothing"),
        one("vllm_profile", "nothing"),
        one("vllm_image", "nothing:1"),
        one("vllm_port", "x"),
        one("vllm_extra_args", []),
        one("vllm_models", []),
        one("vllm_images", "x"),
        one("vllm_profiles", 1),
        one("vllm_api_key", {}),
        one("vllm_max_model_len", "x"),
        one("vllm_extra_args", {"max_num_seqs": True}),
    ],
    ids=str,
)
def test_one_mistake_is_one_line(values: Values) -> None:
    assert len(problems(values)) == 1


TOO_LARGE = {"vllm_model": "llama33-70b-fp8", "vllm_max_model_len": 131072}
GOOD: list[Values] = [
    {},
    # as Ansible takes them
    one("vllm_port", "8000"),
    one("vllm_port", 8000.0),
    one("vllm_port", 65535),
    one("vllm_drop_page_cache", "yes"),
    one("vllm_drop_page_cache", "No"),
    one("vllm_hf_offline", 1),
    one("vllm_hf_offline", "off"),
    one("vllm_gpu_memory_utilization", "0.85"),
    one("vllm_gpu_memory_utilization", 0.95),
    one("vllm_gpu_memory_utilization", None),
    one("vllm_max_model_len", None),
    one("vllm_max_model_len", "16384"),
    one("vllm_max_model_len", 40960),
    one("vllm_memory_reserve_gib", "12.5"),
    one("vllm_container_memory_gib", "16.5"),
    one("vllm_api_key", 1234567812345678),
    # models, profiles, images
    *(
        {
            "vllm_model": name,
            **({"vllm_image": model["image"], "vllm_image_allow": ["moving"]} if "image" in model else {}),
        }
        for name, model in Catalog().models().items()
        if not name.startswith(("gpt-oss", "qwen3-vl"))
    ),
    one("vllm_model", "Qwen/Qwen3-8B-FP8"),
    one("vllm_model", "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8"),
    {"vllm_model": "gpt-oss-20b", "vllm_image": "nvcr.io/nvidia/vllm:25.10-py3"},
    *(one("vllm_profile", name) for name in ("throughput", "latency", "concurrency")),
    *(
        {"vllm_image": ref, "vllm_image_allow": ["moving"] if moves(ref) else []}
        for ref, image in Catalog().images().items()
        if image["status"] != "avoid"
    ),
    {"vllm_image": "nvcr.io/nvidia/vllm:26.06-py3", "vllm_image_allow": ["avoid"]},
    {"vllm_image": "vllm/vllm-openai:latest", "vllm_image_allow": ["moving", "avoid"]},
    {"vllm_image": "someone/vllm:1", "vllm_image_allow": ["unknown"]},
    {"vllm_image": "someone/vllm", "vllm_image_allow": ["unknown", "moving"]},
    {"vllm_model": "gpt-oss-20b", "vllm_image_allow": ["cannot_run"]},
    {"vllm_image": f"a/b@{DIGEST}", "vllm_images": {"a/b:1": {"digest": DIGEST}}},
    {"vllm_image": f"a/b@{DIGEST}", "vllm_images": {f"a/b@{DIGEST}": {}}},
    {"vllm_model": "gpt-oss-120b", "vllm_image": "nvcr.io/nvidia/vllm:26.04-py3"},
    {"vllm_model": "qwen3-vl-8b-fp8", "vllm_image": "nvcr.io/nvidia/vllm:25.11-py3"},
    own_model(revision="0123abc", per_image=[{"vllm": ">=0.10, <0.11", "args": {"kv_cache_dtype": "fp8"}}]),
    one("vllm_image", "nvcr.io/nvidia/vllm:25.09-py3@sha256:" + "0" * 64),
    {"vllm_image": "a/b:latest@sha256:" + "0" * 64, "vllm_images": {"a/b:latest": {}}},
    {"vllm_image": "a.example.org/b:1", "vllm_images": {"a.example.org/b:1": {}}},
    {"vllm_model": "mine", "vllm_models": {"mine": OWN_MODEL}},
    {"vllm_model": "a/b", "vllm_models": {"mine": {**OWN_MODEL, "notes": ["x"], "sources": {"layers": "S: x"}}}},
    one("vllm_models", {"qwen3-8b-fp8": {"args": {"max_model_len": 16384, "kv_cache_dtype": "fp8"}}}),
    one("vllm_models", {"qwen3-8b-fp8": {"weights_bytes": 1000}}),
    one("vllm_models", {"qwen3-8b-fp8": {"config_context": 2200000}}),
    {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": {"gpu_memory_utilization": "0.5"}}}},
    {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": {}}}, "vllm_gpu_memory_utilization": 0.5},
    one("vllm_profiles", {"throughput": {"args": {"max_num_seqs": None}}}),
    # options
    one("vllm_extra_args", {"kv_cache_dtype": "fp8", "enforce_eager": True, "enable_prefix_caching": False}),
    one("vllm_extra_args", {"max_num_seqs": None, "enable_prefix_caching": None}),
    one("vllm_extra_args", {"max_num_seqs": "8", "max_num_batched_tokens": "16k"}),
    one("vllm_extra_args", {"served_model_name": ["a", "b"], "swap_space": 4}),
    one("vllm_extra_args", {"hf_overrides": {"rope_scaling": {"rope_type": "yarn"}}}),
    one("vllm_extra_args", {"enable_chunked_prefill": False, "max_num_batched_tokens": 32768}),
    one("vllm_extra_args", {"headless": None}),
    one("vllm_extra_args", {"tensor_parallel_size": 1, "pipeline_parallel_size": None, "data_parallel_size": "1"}),
    {**LATEST_RECORDED, "vllm_extra_args": {"kv_cache_memory_bytes": 10**10, "performance_mode": "balanced"}},
    # a version between two recorded ones may have the options of either
    {"vllm_image": BETWEEN, "vllm_extra_args": {"swap_space": 4, "performance_mode": "balanced"}},
    {"vllm_max_model_len": 131072, "vllm_extra_args": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}},
    # stretched by an entry, a profile
    {
        "vllm_max_model_len": 131072,
        "vllm_models": {"qwen3-8b-fp8": {"args": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}}},
    },
    {
        "vllm_max_model_len": 131072,
        "vllm_profiles": {"throughput": {"args": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}}},
    },
    {"vllm_max_model_len": 10**6, "vllm_model": "mistral-nemo-12b-fp8", "vllm_extra_args": {"kv_cache_dtype": "fp8"}},
    # tried all the same, shortened, or smaller; and one of which nothing is known yet
    {**TOO_LARGE, "vllm_enforce_memory_plan": False},
    {**TOO_LARGE, "vllm_auto_remedy": True},
    {**TOO_LARGE, "vllm_extra_args": {"kv_cache_dtype": "fp8"}},
    {"vllm_model": "some-org/some-model", "vllm_extra_args": {"kv_cache_dtype": "fp8"}},
    one("vllm_extra_env", {"VLLM_LOGGING_LEVEL": "DEBUG", "TOKENIZERS_PARALLELISM": "false"}),
    one("vllm_extra_env", {"OMP_NUM_THREADS": 4, "A": ""}),
    one("vllm_extra_env", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "::1,10.0.0.0/8", "A": "git@host:x"}),
    # network, names, folders
    one("vllm_publish_address", "127.0.0.1"),
    one("vllm_publish_address", "127.8.8.8"),
    {"vllm_publish_address": "0.0.0.0", "vllm_api_key": KEY, "vllm_image": "nvcr.io/nvidia/vllm:26.07-py3"},
    {"vllm_publish_address": "0.0.0.0", "vllm_publish_without_api_key": "yes", "vllm_image_allow": ["advisory"]},
    {
        "vllm_publish_address": "192.168.1.7",
        "vllm_api_key": KEY,
        "vllm_images": {"nvcr.io/nvidia/vllm:25.09-py3": {"security": []}},  # a build with the fix
    },
    one("vllm_extra_env", {"VLLM_USE_RUST_FRONTEND": "1"}),  # without a key there is nothing to ask for
    one("vllm_image_registry", "mirror.example.org:5000"),
    one("vllm_image_registry", "172.30.111.3:5000"),
    one("vllm_image_registry", "localhost"),
    one("vllm_image_registry", "mirror:5000/nvcr"),
    one("vllm_image_registry", "harbor.example.org/proxy/nvcr-io_1"),
    one("vllm_hf_endpoint", "http://172.30.111.2:8080"),
    *(
        {"vllm_hf_endpoint": endpoint, "vllm_hf_token": "hf_" + "a1B2" * 8}
        for endpoint in ("https://hub.lan", "http://localhost:8080", "http://127.0.0.1", "http://127.0.0.2:80/hf")
    ),
    {"vllm_hf_endpoint": "http://a.lan", "vllm_hf_token": "hf_" + "a1B2" * 8, "vllm_hf_token_over_http": True},
    one("vllm_hf_endpoint", "https://hub.example.org/a/b_c/"),
    one("vllm_service_name", "vllm-2"),
    one("vllm_container_name", "Vllm_1.x"),
    one("vllm_home", "/srv/vllm"),
    one("hf_cache_path", "/data/hf-cache/"),
    one("hf_cache_path", "/mnt/nvme0/hf"),
    one("hf_cache_path", "/home/nvidia/.cache/huggingface"),
    one("hf_cache_path", "/usr/local/hf"),
    one("hf_cache_path", "/var/lib/hf"),
    one("hf_cache_path", "/run/media/disk/hf"),
    {"vllm_home": "/opt/hf-vllm", "hf_cache_path": "/opt/hf"},
    # secrets
    one("vllm_hf_token", TOKEN),
    one("vllm_hf_token", "token-of.a_mirror:with/signs=+#$"),
    one("vllm_api_key", KEY),
    # limits
    one("vllm_ulimits", {"memlock": 8388608, "stack": "67108864", "nofile": {"soft": 1024, "hard": 4096}}),
    one("vllm_ulimits", {}),
    one("vllm_entrypoint", ["bash", "-c", 'pip install some-package && exec vllm serve "$@"', "vllm"]),
    one("vllm_ipc", "service:other"),
]


@pytest.mark.parametrize("values", GOOD, ids=lambda values: str(values)[:70])
def test_good_input_passes(values: Values) -> None:
    assert problems(values) == []


def test_of_other_hardware_nothing_is_known() -> None:
    values = {**defaults("vllm"), **TOO_LARGE}
    assert validate_problems.problems("vllm", values, options_of("vllm"), Catalog(), is_spark=False) == []


@pytest.mark.parametrize(
    ("role", "values"),
    [
        ("hf_cache", {}),
        ("hf_cache", {"hf_cache_mode": "2775", "hf_cache_owner": "1000", "hf_cache_group": 1000}),
        ("hf_cache", {"hf_cache_owner": "1846201105", "hf_cache_group": 1846200513}),  # of a directory service
        ("hf_cache", {"hf_cache_space_repo": "a/b", "hf_cache_space_bytes": "12"}),
        ("spark_host", {}),
        ("spark_host", {"spark_host_sysctl": {}, "spark_host_earlyoom": "no", "spark_host_limits": "yes"}),
        ("spark_host", {"spark_host_sysctl": {"net.core.rmem_max": "16777216", "kernel.core_pattern": "/tmp/core"}}),
        ("container_runtime", {}),
        ("container_runtime", {"container_runtime_daemon_options": {"features": {"cdi": True}, "debug": True}}),
        (
            "container_runtime",
            {"container_runtime_cdi": "no", "container_runtime_daemon_options": {"features": {"cdi": False}}},
        ),
        ("container_runtime", {"container_runtime_daemon_options": {"default-runtime": "nvidia"}}),
        ("container_runtime", {"container_runtime_toolkit_version": "1.20.0~rc.1-1"}),
        ("container_runtime", {"container_runtime_toolkit_repository": "http://172.30.111.2:8080/apt/$(ARCH)"}),
    ],
    ids=str,
)
def test_good_input_of_the_other_roles(role: str, values: Values) -> None:
    assert problems(values, role) == []


def test_options_of_every_entry_point_are_known() -> None:
    known = options_of("hf_cache")
    assert {"hf_cache_path", "hf_cache_download_model", "hf_cache_space_repo"} <= set(known)
    assert known["hf_cache_path"] == read_specs("hf_cache")["main"]["options"]["hf_cache_path"]


def test_a_role_may_read_a_variable_of_another_one() -> None:
    assert options_of("vllm")["hf_cache_path"] == options_of("hf_cache")["hf_cache_path"]
    assert "hf_cache_mode" not in options_of("vllm")


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_names_lead_to_names_that_there_are(old: str, new: str) -> None:
    known = options_of("vllm")
    assert old not in known
    assert new in known
    assert problems({old: "x"}) == [f"{old}: was renamed to {new}; rename it where it is set"]


def test_names_of_a_role_with_a_longer_namesake() -> None:
    variables = ["hf_cache_path", "hf_cache_space_repo", "hf_cachet", "hf_x", "hf_cache", "vllm_port"]
    assert validate_problems.names_of("hf_cache", variables, ["hf", "hf_cache"]) == [
        "hf_cache_path",
        "hf_cache_space_repo",
    ]
    assert validate_problems.names_of("hf", variables, ["hf", "hf_cache"]) == ["hf_cache", "hf_cachet", "hf_x"]
    # what it reads of another role, and the old names of all that
    assert validate_problems.names_of("vllm", [*variables, "vllm_hf_cache"], ["vllm"], {"hf_cache_path"}) == [
        "hf_cache_path",
        "vllm_hf_cache",
        "vllm_port",
    ]
    assert validate_problems.names_of("hf_cache", ["vllm_hf_cache"], ["hf_cache"], {"hf_cache_path"}) == [
        "vllm_hf_cache"
    ]


def test_nothing_is_said_about_what_cannot_be_read() -> None:
    values = {name: value for name, value in defaults("vllm").items() if name != "hf_cache_path"}
    assert validate_problems.problems("vllm", values, options_of("vllm"), Catalog(), {"hf_cache_path"}) == []


def test_secrets_come_from_the_specification() -> None:
    assert validate_problems.secrets_of(options_of("vllm")) == {"vllm_hf_token", "vllm_api_key"}


def test_a_secret_in_the_wrong_variable_is_masked() -> None:
    assert problems(one("vllm_model", TOKEN))[0].startswith('vllm_model: "hf_********" is not in the catalog')
    assert problems({"vllm_api_key": KEY, "vllm_profile": KEY})[0].startswith('vllm_profile: "********" is no profile')


def test_a_dotted_option_is_a_mapping_here() -> None:
    (line,) = problems(one("vllm_extra_args", {"limit_mm_per_prompt.video": 0}))
    assert line.endswith("is not the name of an option; write limit_mm_per_prompt: {video: 0}")


@pytest.mark.parametrize("name", ["mine/.hidden", "-/x"])
def test_a_folder_is_no_id_of_the_hub(name: str) -> None:
    assert problems(one("vllm_model", name))[0].startswith(f'vllm_model: "{name}" is neither the id of a')
