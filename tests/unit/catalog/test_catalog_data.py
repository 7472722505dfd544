# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data of the catalog: complete, sourced, and right where it can be checked."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import FOLDER, Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.fields import (
    image_problems,
    model_problems,
    profile_problems,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import UPSTREAM, family, split_reference
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import ROLES, read_specs, role_names
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import version_key
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.text import nearest

CATALOG = Catalog()
MODELS = CATALOG.models()
IMAGES = CATALOG.images()
PROFILES = CATALOG.profiles()
MARK = re.compile(r"[MSCW]: \S")
GUIDES_MODELS = {
    "qwen3-8b-fp8": "Qwen/Qwen3-8B-FP8",
    "qwen3-32b-fp8": "Qwen/Qwen3-32B-FP8",
    "qwen3-30b-a3b-fp8": "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8",
    "llama33-70b-fp8": "nvidia/Llama-3.3-70B-Instruct-FP8",
    "mistral-nemo-12b-fp8": "RedHatAI/Mistral-Nemo-Instruct-2407-FP8",
    "llama31-8b-fp8": "nvidia/Llama-3.1-8B-Instruct-FP8",
}


# Fields whose digits are part of a name.
NAMES = {"id", "license", "quantization", "architectures", "sources"}
NAME = re.compile(
    r"image \d\d\.\d\d|--[\w-]+|\b[A-Za-z][\w.]*[-_][\w.-]+|\b(?:FP|BF|NVFP|MXFP)\d+\b|\bQwen\d|\bsm_\d+|--\w+", re.I
)


def holds_a_number(value: t.Any) -> bool:
    """Whether there is a figure in it, that somebody must have measured, stated or computed."""
    if isinstance(value, dict):
        return any(holds_a_number(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_a_number(item) for item in value)
    if isinstance(value, str):
        return re.search(r"\d", NAME.sub("", value)) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (4, True),
        (True, False),
        ("4", True),
        ("about 4 GB", True),
        ("Image 25.09, the guide's.", False),
        ("a 32B or 70B model", True),
        ("qwen3-8b-fp8 and Qwen3, FP8 for sm_120", False),
        ({"factor": 4.0}, True),
        ([{"args": {"x": "y"}}], False),
        (["none", "8 tokens/s"], True),
    ],
)
def test_a_figure_is_recognized(value: t.Any, found: bool) -> None:
    assert holds_a_number(value) is found


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_complete(name: str) -> None:
    model = MODELS[name]
    assert model_problems(name, model) == []
    for field in (
        "parameters",
        "quantization",
        "config_context",
        "gated",
        "license",
        "good_for",
        "avoid_for",
        "sources",
    ):
        assert field in model, field


@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_a_model_has_a_source(name: str) -> None:
    model = MODELS[name]
    sources = model["sources"]
    numbers = {field for field, value in model.items() if field not in NAMES and holds_a_number(value)}
    assert numbers <= set(sources), f"no source: {sorted(numbers - set(sources))}"
    assert set(sources) <= set(model)
    assert all(MARK.match(source) for source in sources.values())
    for rule in model.get("per_image", []):
        assert MARK.match(rule["why"])


@pytest.mark.parametrize("name", MODELS)
def test_contexts_are_in_order(name: str) -> None:
    model = MODELS[name]
    assert model["native_context"] <= model["config_context"]
    if "extended_context" in model:
        yarn = model["yarn"]
        assert model["extended_context"] == yarn["factor"] * yarn["original_max_position_embeddings"]


# What owners ask for most, besides the guide's.
ALSO_THERE = {
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "nvidia-qwen3-8b-fp8": "nvidia/Qwen3-8B-FP8",
    "llama33-70b-nvfp4": "nvidia/Llama-3.3-70B-Instruct-NVFP4",
    "qwen3-coder-30b-a3b-fp8": "Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8",
    "qwen3-vl-8b-fp8": "Qwen/Qwen3-VL-8B-Instruct-FP8",
}


# NVIDIA's own recipes for a Spark, and what its owners serve most.
OF_2026 = {
    "qwen36-35b-a3b-nvfp4": ("nvidia/Qwen3.6-35B-A3B-NVFP4", "mtp"),
    "qwen36-35b-a3b-fp8": ("Qwen/Qwen3.6-35B-A3B-FP8", None),
    "qwen38-27b-nvfp4": ("nvidia/Qwen3.8-27B-NVFP4", "dflash"),
    "qwen38-27b-fp8": ("Qwen/Qwen3.8-27B-FP8", None),
    "nemotron35-lightning": ("nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4", "dspark"),
    "nemotron3-super": ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4", "mtp"),
    "qwen35-122b-a10b-nvfp4": ("nvidia/Qwen3.5-122B-A10B-NVFP4", "mtp"),
    "gemma4-26b-a4b-nvfp4": ("nvidia/Gemma-4-26B-A4B-NVFP4", "mtp"),
    "qwen3-coder-next-fp8": ("Qwen/Qwen3-Coder-Next-FP8", None),
    "qwen38-flash-next-nvfp4": ("local-inference-lab/Qwen3.8-Flash-Next-NVFP4", "mtp"),
}


@pytest.mark.parametrize("name", OF_2026)
def test_the_models_of_2026_are_there(name: str) -> None:
    model = MODELS[name]
    assert (model["id"], (model.get("draft") or {}).get("method")) == OF_2026[name]
    assert {"architectures", "image", "hidden_size", "vocab_size", "activation_bytes", "tool_call_parser"} <= set(model)


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].get("image")])
def test_a_model_runs_on_its_image(name: str) -> None:
    image = CATALOG.image(MODELS[name]["image"])
    assert image["status"] == "good"
    entry = CATALOG.model(name, None, image)
    assert entry["image_cannot_run"] is None
    assert ("speculative_config" in entry["image_args"]) == ("draft" in entry)


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].get("architectures")])
def test_the_name_of_a_repository_says_the_same_as_its_entry(name: str) -> None:
    said = family(MODELS[name]["id"], CATALOG.families())
    assert said is None or set(said["architectures"]) & set(MODELS[name]["architectures"])


def test_the_guides_platform_is_there() -> None:
    wanted = GUIDES_MODELS | ALSO_THERE
    assert {name: MODELS[name]["id"] for name in wanted} == wanted
    assert len({model["id"] for model in MODELS.values()}) == len(MODELS)


# Published, or computed by others from the same public configuration.
@pytest.mark.parametrize(
    ("name", "kib_per_token", "weights_gib"),
    [
        ("qwen3-8b-fp8", 144, 8.79),
        ("llama31-8b-fp8", 128, 8.46),
        ("mistral-nemo-12b-fp8", 160, 12.66),
        ("qwen3-32b-fp8", 256, 31.95),
        ("qwen3-30b-a3b-fp8", 96, 29.0),
        ("llama33-70b-fp8", 320, 67.7),
        ("gpt-oss-20b", 48, 12.85),
        ("gpt-oss-120b", 72, 60.8),
        ("nvidia-qwen3-8b-fp8", 144, 8.79),
        ("qwen3-coder-30b-a3b-fp8", 96, 29.0),
    ],
)
def test_sizes_agree_with_what_is_published(name: str, kib_per_token: int, weights_gib: float) -> None:
    model = MODELS[name]
    assert 2 * model["layers"] * model["kv_heads"] * model["head_dim"] * 2 == kib_per_token * 1024
    assert model["weights_bytes"] / 1024**3 == pytest.approx(weights_gib, abs=0.05)


@pytest.mark.parametrize("name", MODELS)
def test_no_speed_is_above_what_the_memory_can_read(name: str) -> None:
    model = CATALOG.model(name)
    assert model["active_bytes"] < model["weights_bytes"]
    at_once = 1 + (model.get("draft") or {}).get("tokens", 0)  # drafts are checked with one reading of the weights
    assert model.get("tokens_per_second", 0) < model["roofline"] * at_once


# The ceilings that others computed from the same public configuration.
@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("qwen3-8b-fp8", 33),
        ("llama31-8b-fp8", 34),
        ("mistral-nemo-12b-fp8", 22),
        ("qwen3-30b-a3b-fp8", 82),
        ("qwen3-32b-fp8", 8.3),
        ("llama33-70b-fp8", 3.9),
    ],
)
def test_ceilings_agree_with_what_is_published(name: str, tokens: float) -> None:
    assert CATALOG.model(name)["roofline"] == pytest.approx(tokens, rel=0.02)


@pytest.mark.parametrize("ref", IMAGES)
def test_an_image_is_complete(ref: str) -> None:
    image = IMAGES[ref]
    assert image_problems(ref, image) == []
    assert {"min_driver", "command_prefix", "status", "sources"} <= set(image)
    assert set(image["sources"]) <= set(image)
    assert set(image) - {"command_prefix", "status", "sources"} <= set(image["sources"])
    assert all(MARK.match(source) for source in image["sources"].values())
    assert image["status"] == "unknown" or "status" in image["sources"]


@pytest.mark.parametrize("ref", IMAGES)
def test_how_an_image_is_called(ref: str) -> None:
    _registry, repository, tag, _digest = split_reference(ref)
    assert IMAGES[ref]["command_prefix"] == ([] if repository == UPSTREAM else ["vllm", "serve"])
    assert ("entrypoint" in IMAGES[ref]) <= (IMAGES[ref]["command_prefix"] == [])
    assert tag


def test_the_matrix_reaches_from_the_guides_image_to_the_newest() -> None:
    ngc = [ref for ref in IMAGES if ref.startswith("nvcr.io/nvidia/vllm:")]
    assert ngc == sorted(ngc, key=lambda ref: version_key(split_reference(ref)[2]))
    assert (split_reference(ngc[0])[2], split_reference(ngc[-1])[2]) == ("25.09-py3", "26.10-py3")
    versions = [version_key(IMAGES[ref]["vllm"]) for ref in ngc if "vllm" in IMAGES[ref]]
    assert versions == sorted(versions)


def test_the_guides_profiles() -> None:
    assert [(name, list(profile["args"].items())) for name, profile in PROFILES.items()] == [
        (
            "throughput",
            [
                ("max_model_len", 32768),
                ("gpu_memory_utilization", 0.90),
                ("max_num_batched_tokens", 16384),
                ("max_num_seqs", 64),
                ("enable_prefix_caching", True),
            ],
        ),
        (
            "latency",
            [
                ("max_model_len", 16384),
                ("gpu_memory_utilization", 0.85),
                ("max_num_batched_tokens", 8192),
                ("max_num_seqs", 16),
            ],
        ),
        (
            "concurrency",
            [
                ("max_model_len", 32768),
                ("gpu_memory_utilization", 0.90),
                ("max_num_batched_tokens", 20480),
                ("max_num_seqs", 96),
            ],
        ),
    ]
    assert all(profile_problems(name, profile) == [] for name, profile in PROFILES.items())


@pytest.mark.in_turn(4)  # test_planned_argv.py has all of their command lines always
@pytest.mark.parametrize("ref", IMAGES)
@pytest.mark.parametrize("name", MODELS)
def test_every_option_is_known_to_every_image(name: str, ref: str) -> None:
    known = CATALOG.options(IMAGES[ref].get("vllm"))
    for args in (MODELS[name].get("args", {}), *(profile["args"] for profile in PROFILES.values())):
        for option, value in args.items():
            assert known.problem(option, value, nearest) is None


@pytest.mark.parametrize("path", sorted((FOLDER / "vllm_options").glob("*.yml")), ids=lambda path: path.name)
def test_a_recorded_list(path: Path) -> None:
    recorded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert recorded["vllm"] == path.stem
    names = [option["name"] for option in recorded["options"]]
    assert names == sorted(set(names))
    for option in recorded["options"]:
        assert set(option) <= {"name", "kind", "negatable", "bare", "alias_of"}
        assert option["kind"] in ("flag", "value")
        assert not (option.get("negatable") and option["kind"] == "value")
        assert option.get("alias_of", option["name"]) in names


@pytest.mark.parametrize("role", role_names())
def test_specifications_can_be_checked(role: str) -> None:
    """Types that the checks know, and defaults that pass them."""
    types = {"str", "path", "bool", "int", "float", "dict", "list"}
    for entry_point in read_specs(role).values():
        for name, option in t.cast("dict[str, t.Any]", entry_point.get("options") or {}).items():
            assert name.startswith(f"{role}_")
            assert option.get("type", "str") in types


def test_roles_are_found() -> None:
    assert {"vllm", "hf_cache", "spark_host", "container_runtime"} <= set(role_names())
    assert ROLES.is_dir()


def test_every_bad_kernel_and_driver_says_what_and_where_from() -> None:
    for entry in CATALOG.hosts():
        assert (
            {"what", "remedy", "source"}
            <= entry.keys()
            <= {"kernel", "driver", "what", "remedy", "only_with", "source"}
        )
        assert entry.keys() & {"kernel", "driver"}
        assert MARK.match(entry["source"])
