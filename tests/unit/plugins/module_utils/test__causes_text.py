# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret is in what is shown of a log."""

from __future__ import annotations

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("proxy http://me:pass@proxy:3128/ refused", "proxy http://***@proxy:3128/ refused"),
        ("GET https://cdn/x?Expires=1&Signature=abc~-_&Key-Pair-Id=K 'y'", "GET https://cdn/x?*** 'y'"),
        ("GET https://cdn/x?X-Amz-Algorithm=A&X-Amz-Signature=abc: timed out", "GET https://cdn/x?*** timed out"),
        ("https://hub/x?a=b fine", "https://hub/x?a=b fine"),
    ],
)
def test_addresses_give_nothing_away(text: str, masked: str) -> None:
    assert mask(text) == masked


SECRET = "AbCdEfGhIjKlMnOpQrStUvWxYz012345678"


@pytest.mark.parametrize(
    "said",
    [
        f"hf_{SECRET}",
        f"token='hf_{SECRET}'",
        f"hf_token{SECRET}",
        f"hf_oauth_eyJhb.{SECRET}.x-y",
        f"Authorization: Bearer {SECRET}",
        f"Incorrect API key provided: sk-proj-{SECRET}",
        f"non-default args: {{'api_key': ['first', '{SECRET}'], 'model': 'x'}}",
        f'{{"api_key": "{SECRET}", "model": "x"}}',
        f"vllm serve x --api-key {SECRET}",
        f"VLLM_API_KEY={SECRET} is set",
        f"GET https://mirror/x?token={SECRET}&a=b",
        f"https://me:{SECRET}@mirror/x",
    ],
)
def test_no_secret_is_shown_wherever_it_stands(said: str) -> None:
    for text in (said, f"{said}\n", f"({said})", f'"{said}"'):
        assert SECRET not in mask(text)
        assert "***" in mask(text)


@pytest.mark.parametrize(
    "said",
    [
        "HF_HUB_ENABLE_HF_TRANSFER=1, 'hf_transfer' is missing; hf_xet, hf_overrides, hf_config, hf_quant_config.json",
        "non-default args: {'api_key': None, 'max_num_batched_tokens': 8192, 'model': 'sk-learn/x'}",
        "argument --api-key: expected at least one argument; tokens=198, KV cache size: 123,456 tokens",
    ],
)
def test_what_is_no_secret_stays(said: str) -> None:
    assert mask(said) == said
