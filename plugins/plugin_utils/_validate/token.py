# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it may change at any time.
"""A gated model and no token. The hub would say so, too, but only when the download begins."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from .._catalog.catalog import Entry


def notices(values: t.Mapping[str, t.Any], model: Entry) -> list[str]:
    """No refusal: the model may be in the cache already, or come from another host or a mirror."""
    if not model["gated"] or values.get("vllm_hf_token") or boolean(values.get("vllm_hf_offline"), strict=False):
        return []
    return [
        f"vllm_hf_token: is empty, and {model['name']} is gated: set it to a token of an account that was granted"
        f" access to {model['id']}, unless the cache or hf_cache_source has the model already"
    ]
