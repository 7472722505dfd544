# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gated model and no token. The hub would say so, too, but only when the download begins."""

from __future__ import annotations

from .._catalog.fields import Entry
from .._common.types import TypedValues


def notices(checked: TypedValues, model: Entry) -> list[str]:
    """No refusal: the model may be in the cache already, or come from another host or a mirror."""
    if not model["gated"] or checked["vllm_hf_token"] or checked["vllm_hf_offline"]:
        return []
    return [
        f"vllm_hf_token: is empty, and {model['name']} is gated: set it to a token of an account that was granted"
        f" access to {model['id']}, unless the cache or hf_cache_source has the model already"
    ]
