# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image adds to a model: which rules are meant for it, and who wins."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.per_image import applies, for_image, is_rule

REF = "vllm/vllm-openai:v0.20.0-cu130"


@pytest.mark.parametrize(
    ("rule", "version", "meant"),
    [
        ({"image": "vllm/vllm-openai:*"}, None, True),
        ({"image": "vllm/vllm-openai:v0.2?.*"}, "0.20.0", True),
        ({"image": "nvcr.io/*"}, "0.20.0", False),
        ({"vllm": ">=0.20"}, "0.20.0", True),
        ({"vllm": ">=0.20.0"}, "0.20", True),
        ({"vllm": ">0.20"}, "0.20.0", False),
        ({"vllm": "<0.20.1"}, "0.20.0+nv26.05", True),
        ({"vllm": ">=0.9"}, "0.20.0", True),  # not as text
        ({"vllm": ">=0.19, <0.26"}, "0.26.0", False),
        ({"vllm": ">=0.19,<=0.26"}, "0.26.0", True),
        ({"vllm": ">=0.19"}, None, False),
        ({"vllm": ">=0.20"}, "0.20.0rc1", False),
        ({"image": "vllm/*", "vllm": "<0.20"}, "0.20.0", False),
    ],
)
def test_applies(rule: dict[str, t.Any], version: str | None, meant: bool) -> None:
    assert applies(rule, REF, version) is meant


def test_a_digest_does_not_change_which_rules_apply() -> None:
    assert applies({"image": "*:v0.20.0-cu130"}, f"{REF}@sha256:00", "0.20.0")


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("key", [REF, f"vllm/vllm-openai@{DIGEST}"])
def test_a_digest_without_a_tag_has_the_rules_of_its_entry(key: str) -> None:
    catalog = Catalog()
    image = catalog.image(f"vllm/vllm-openai@{DIGEST}", {key: {"digest": DIGEST, "vllm": "0.20.0"}})
    assert image["key"] == key
    model = catalog.model("qwen3-8b-fp8", image=image)
    assert model["image_environment"] == {"VLLM_DISABLED_KERNELS": "CutlassFp8BlockScaledMMKernel"}


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        ({"image": "*", "args": {"a": 1}}, True),
        ({"vllm": "<1", "environment": {"A": "1"}, "why": "S: x"}, True),
        ({"image": "*"}, False),
        ({"args": {"a": 1}}, False),
        ({"image": 1, "args": {"a": 1}}, False),
        ({"image": "*", "args": ["a"]}, False),
        ({"image": "*", "args": {"a": 1}, "note": ""}, False),
        ({"vllm": "0.19", "args": {"a": 1}}, False),
        ({"vllm": ">=0.19,", "args": {"a": 1}}, False),
        ({"vllm": ">=a", "args": {"a": 1}}, False),
        ("*", False),
        (None, False),
    ],
)
def test_is_rule(rule: t.Any, good: bool) -> None:
    assert is_rule(rule) is good


def test_later_rules_win_over_earlier_ones_and_over_the_image() -> None:
    image = {"ref": REF, "vllm": "0.20.0", "args": {"a": 1, "b": 1, "c": 1}, "environment": {"X": "1"}}
    rules = [
        {"image": "*", "args": {"b": 2, "c": 2}, "why": "S: two"},
        {"vllm": ">=9", "args": {"c": 9}},
        {"vllm": ">=0.20", "args": {"c": 3}, "environment": {"Y": "3"}, "why": "M: three"},
    ]
    assert for_image({"per_image": rules}, image) == {
        "image_args": {"a": 1, "b": 2, "c": 3},
        "image_environment": {"X": "1", "Y": "3"},
        "image_notes": {
            "a": f"every model needs it with {REF}",
            "b": "S: two",
            "c": "M: three",
            "X": f"every model needs it with {REF}",
            "Y": "M: three",
        },
    }


def test_nothing_is_added_where_nothing_is_needed() -> None:
    catalog = Catalog()
    model = catalog.model("qwen3-8b-fp8", image=catalog.image("nvcr.io/nvidia/vllm:25.09-py3"))
    assert (model["image_args"], model["image_environment"]) == ({}, {})


@pytest.mark.parametrize(
    ("model", "ref", "args", "environment"),
    [
        ("qwen3-8b-fp8", REF, {}, {"VLLM_DISABLED_KERNELS": "CutlassFp8BlockScaledMMKernel"}),
        ("nvidia-qwen3-8b-fp8", REF, {}, {}),
        (
            "qwen3-coder-30b-a3b-fp8",
            "vllm/vllm-openai:v0.26.0-aarch64-cu129-ubuntu2404",
            {"linear_backend": "marlin", "moe_backend": "marlin"},
            {"VLLM_TEST_FORCE_FP8_MARLIN": "1"},
        ),
        (
            "gpt-oss-120b",
            "nvcr.io/nvidia/vllm:26.04-py3",
            {"quantization": "mxfp4", "moe_backend": "marlin", "attention_backend": "TRITON_ATTN"},
            {},
        ),
        ("gpt-oss-20b", "nvcr.io/nvidia/vllm:25.10-py3", {}, {}),
        ("llama33-70b-nvfp4", REF, {}, {"VLLM_NVFP4_GEMM_BACKEND": "marlin"}),
        ("llama33-70b-nvfp4", "vllm/vllm-openai:v0.25.1-aarch64", {"linear_backend": "marlin"}, {}),
        ("llama33-70b-nvfp4", "nvcr.io/nvidia/vllm:26.05-py3", {}, {}),
        ("qwen36-35b-a3b-nvfp4", "nvcr.io/nvidia/vllm:26.04-py3", {}, {}),
        (
            "qwen36-35b-a3b-nvfp4",
            "vllm/vllm-openai:v0.28.0",
            {
                "load_format": "fastsafetensors",
                "moe_backend": "marlin",
                "attention_backend": "FLASHINFER",
                "speculative_config": {"method": "mtp", "num_speculative_tokens": 3, "moe_backend": "triton"},
            },
            {},
        ),
        (
            "qwen38-27b-nvfp4",
            "vllm/vllm-openai:v0.28.0",
            {
                "speculative_config": {
                    "method": "dflash",
                    "model": "z-lab/Qwen3.8-27B-DFlash2",
                    "num_speculative_tokens": 8,
                }
            },
            {},
        ),
        ("qwen38-27b-nvfp4", "nvcr.io/nvidia/vllm:26.08-py3", {}, {}),  # 0.27 does not know its draft model
        ("llama31-8b-fp8", "nvcr.io/nvidia/vllm:26.06-py3", {}, {"NCCL_NVLS_ENABLE": "0"}),
    ],
)
def test_kernel_switches_of_the_catalog(
    model: str, ref: str, args: dict[str, t.Any], environment: dict[str, t.Any]
) -> None:
    catalog = Catalog()
    found = catalog.model(model, image=catalog.image(ref))
    assert (found["image_args"], found["image_environment"]) == (args, environment)
