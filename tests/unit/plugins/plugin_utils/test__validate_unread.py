# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What vllm_extra_env gives to a vLLM that does not read it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.model import notices

Values = dict[str, t.Any]


@pytest.mark.parametrize(
    ("image", "variables", "lines"),
    [
        (
            "vllm/vllm-openai:v0.28.0",
            {"VLLM_ATTENTION_BACKEND": "FLASHINFER", "VLLM_USE_V1": "1", "VLLM_LOGGING_LEVEL": "DEBUG"},
            [
                "vllm_extra_env.VLLM_ATTENTION_BACKEND: vLLM 0.28.0 does not read it, and starts all the same; write"
                " attention_backend in vllm_extra_args",
                "vllm_extra_env.VLLM_USE_V1: vLLM 0.28.0 does not read it, and starts all the same; remove it",
            ],
        ),
        (
            "vllm/vllm-openai:v0.28.0",
            {"VLLM_MAX_MODEL_LEN": "8192"},
            [
                "vllm_extra_env.VLLM_MAX_MODEL_LEN: vLLM 0.28.0 does not read it, and starts all the same; set"
                " vllm_max_model_len"
            ],
        ),
        ("vllm/vllm-openai:v0.20.1", {"VLLM_NVFP4_GEMM_BACKEND": "marlin"}, []),
        ("my/vllm:1", {"VLLM_NVFP4_GEMM_BACKEND": "marlin"}, []),
    ],
)
def test_an_environment_that_vllm_does_not_read(image: str, variables: Values, lines: list[str]) -> None:
    chosen = {"vllm_model": "qwen3-8b-fp8", "vllm_image": image, "vllm_image_allow": ["unknown"]}
    found = notices("vllm", {**chosen, "vllm_extra_env": variables}, Catalog())
    assert [line for line in found if "does not read" in line] == lines


def test_a_program_of_vllm_entrypoint_may_read_what_vllm_does_not() -> None:
    chosen = {"vllm_model": "qwen3-8b-fp8", "vllm_image": "vllm/vllm-openai:v0.28.0"}
    chosen |= {"vllm_entrypoint": ["/start"], "vllm_extra_env": {"VLLM_MODEL": "a"}}
    assert notices("vllm", chosen, Catalog()) == []
