# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told and not refused: faults of images, what was allowed, weights that are gated."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import version_key
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import choose_image
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.model import notices
from validated import defaults, problems

from support.bad_inputs import KEY, OWN_MODEL, TOKEN, Values, one


def test_what_was_allowed_is_a_notice() -> None:
    catalog = Catalog()
    ref = "nvcr.io/nvidia/vllm:26.06-py3"
    (line,) = notices("vllm", one("vllm_image", ref), catalog)
    assert line.startswith(f'vllm_image: "{ref}" is better avoided: Every request under /v1 fails')
    good = {"vllm_image": ref, "vllm_images": {ref: {"status": "good"}}}
    assert [line.partition(" has a known fault: ")[2] for line in notices("vllm", good, catalog)] == [
        "Every request under /v1 fails with HTTP 500 while /health is green.",
        "Loading a WNA16 mixture of experts with Marlin hangs the host.",
    ]
    assert notices("vllm", {**good, "vllm_images": {ref: {"status": "good", "faults": []}}}, catalog) == []
    assert notices("vllm", one("vllm_image", "nvcr.io/nvidia/vllm:25.09-py3"), catalog) == []
    assert notices("hf_cache", {}, catalog) == []
    strange = {"vllm_image": "someone/vllm:latest", "vllm_image_allow": ["moving", "unknown"]}
    assert notices("vllm", strange, catalog) == [
        'vllm_image: "someone/vllm:latest" is another image tomorrow',
        'vllm_image: "someone/vllm:latest" is not in the image matrix; whether it fits the model cannot be checked',
    ]
    open_to_others = {"vllm_publish_address": "0.0.0.0", "vllm_api_key": KEY, "vllm_image_allow": ["advisory"]}
    assert notices("vllm", open_to_others, catalog) == [
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" is published on 0.0.0.0 with a security advisory: CVE-2026-48746,'
        " CVE-2026-22778"
    ]
    too_old = {"vllm_image": "nvcr.io/nvidia/vllm:25.09-py3", "vllm_model": "gpt-oss-20b"}
    assert notices("vllm", too_old, catalog) == [
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" is said not to run gpt-oss-20b, its vLLM has no attention sinks'
    ]


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ("vllm/vllm-openai:v0.25.1-aarch64", True),
        ("nvcr.io/nvidia/vllm:26.10-py3", True),
        ("nvcr.io/nvidia/vllm:25.11-py3", False),  # it has Ray
        ("nvcr.io/nvidia/vllm:26.03-py3", False),  # nobody says
    ],
)
def test_ray_where_there_is_none(ref: str, told: bool) -> None:
    ray = {"distributed_executor_backend": "ray"}
    values = {"vllm_image": ref, "vllm_image_allow": ["unknown"], "vllm_extra_args": ray}
    assert any("has no Ray, which" in line for line in notices("vllm", values, Catalog())) is told


@pytest.mark.parametrize("name", ["allowed_media_domains", "allowed_local_media_path", "root_path"])
def test_the_empty_text_may_be_a_value(name: str) -> None:
    values = {"vllm_image": "vllm/vllm-openai:v0.26.0-aarch64-cu129-ubuntu2404", "vllm_extra_args": {name: ""}}
    assert problems(values) == []


TOOLS = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}


@pytest.mark.parametrize(
    ("ref", "values", "fault"),
    [
        ("25.09", {}, None),
        ("25.09", {"vllm_drop_page_cache": True}, None),  # the role does what helps
        ("25.09", {"vllm_drop_page_cache": "no"}, "The page cache counts as used GPU memory. Set vllm_drop_page_cache"),
        ("25.09", {"vllm_extra_args": TOOLS}, None),
        ("26.05", {}, None),
        ("26.05", {"vllm_extra_args": {"distributed_executor_backend": "mp"}}, None),
        ("26.05", {"vllm_extra_args": {"distributed_executor_backend": "ray"}}, "It has no Ray. vLLM's own way"),
        ("26.07", {}, None),
        ("26.07", {"vllm_extra_args": {**TOOLS, "enable_auto_tool_choice": False}}, None),
        (
            "26.07",
            {"vllm_extra_args": TOOLS},
            "Tool calling is broken, because its xgrammar is older than its vLLM wants.",
        ),
        ("26.07", {"vllm_extra_args": {"speculative_config": {"method": "mtp", "num_speculative_tokens": 3}}}, None),
        (
            "26.07",
            {"vllm_models": {"mine": {**OWN_MODEL, "quantization": "gptq"}}, "vllm_model": "mine"},
            "Loading a WNA16 mixture of experts",
        ),
        (
            "26.07",
            {"vllm_models": {"mine": {**OWN_MODEL, "quantization": "fp8"}}, "vllm_model": "mine"},
            None,
        ),
        ("26.08", {"vllm_extra_args": TOOLS}, None),
        ("26.07", {"vllm_profile": "mine", "vllm_profiles": {"mine": {"args": TOOLS}}}, "Tool calling is broken"),
        ("26.07", {"vllm_models": {"qwen3-8b-fp8": {"args": TOOLS}}}, "Tool calling is broken"),
    ],
)
def test_a_fault_is_told_to_those_who_meet_it(ref: str, values: Values, fault: str | None) -> None:
    image = f"nvcr.io/nvidia/vllm:{ref}-py3"
    lines = notices("vllm", {"vllm_model": "qwen3-8b-fp8", **values, "vllm_image": image}, Catalog())
    if fault is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(f'vllm_image: "{image}" has a known fault: {fault}')


def test_the_defaults_give_no_notice() -> None:
    assert notices("vllm", defaults("vllm"), Catalog()) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, True),
        ({"vllm_download": False}, True),  # vLLM needs it no less
        ({"vllm_hf_offline": "yes"}, False),
        ({"vllm_hf_token": TOKEN}, False),
        ({"vllm_models": {"mine": {**OWN_MODEL, "gated": False}}}, False),
    ],
)
def test_a_gated_model_wants_a_token(values: Values, told: bool) -> None:
    gated = {"vllm_model": "mine", "vllm_models": {"mine": {**OWN_MODEL, "gated": True}}}
    lines = notices("vllm", {**defaults("vllm"), **gated, **values}, Catalog())
    wanted = (
        "vllm_hf_token: is empty, and mine is gated: set it to a token of an account that was granted access to a/b,"
    )
    assert lines == ([f"{wanted} unless the cache or hf_cache_source has the model already"] if told else [])


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (
            "vllm/vllm-openai:v0.28.0",
            'vllm_image: "vllm/vllm-openai:v0.28.0" may refuse quantization: bitsandbytes; its vLLM 0.28.0 reads'
            " bitsandbytes with vllm-bnb-plugin only, which is no part of it",
        ),
        ("vllm/vllm-openai:v0.27.1-aarch64", ""),
    ],
)
def test_weights_that_are_to_be_made_bitsandbytes(image: str, told: str) -> None:
    chosen = {"vllm_model": "Qwen/Qwen3-14B", "vllm_image": image, "vllm_extra_args": {"quantization": "bitsandbytes"}}
    assert notices("vllm", chosen, Catalog()) == ([told] if told else [])  # once it was allowed
    reason = told.partition("; ")[2]
    refused = f'vllm_image: "{image}" cannot run qwen3-14b, {reason}; use vllm/vllm-openai:v0.26.0-aarch64-cu129-ubuntu'
    lines = problems(chosen)
    assert [line.startswith(refused) for line in lines] == ([True] if told else [])
    assert problems({**chosen, "vllm_image_allow": ["cannot_run"]}) == []


def test_an_image_that_is_chosen_reads_the_format_that_the_options_ask_for() -> None:
    bits = "bitsandbytes"
    for args, is_older in (({}, False), ({"quantization": bits}, True), ({"load_format": bits}, True)):
        for model in ("Qwen/Qwen3.6-27B", "qwen36-35b-a3b-nvfp4"):  # whose entry names a newer one
            checked, _lines = TypedValues.of(options_of("vllm"), {"vllm_extra_args": args})
            chosen = choose_image(checked, Catalog(), Catalog().model(model))
            assert (version_key(chosen["vllm"]) < version_key("0.28")) is is_older
