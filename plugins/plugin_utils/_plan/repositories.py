# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which repositories of the hub a server reads, by its options. Pure."""

from __future__ import annotations

import re
import typing as t

from .._catalog.fields import Entry
from .._catalog.vllm_options import mapping_of

# Options that let vLLM read files that the download does not bring: of other repositories, or of another commit.
ELSEWHERE = (
    *("code_revision", "default_mm_loras", "hf_config_path", "lora_modules", "spec_model", "tokenizer"),
    "tokenizer_revision",
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)  # a folder of the container is none


def repositories(model: Entry, args: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """What is downloaded: the model unless it is in a folder, then the draft model if it is a repository of its own.

    Bytes may be None.
    """
    found = []
    if not model.get("folder"):
        found.append({"id": model["id"], "revision": args.get("revision") or "main", "bytes": model["weights_bytes"]})
    drafts = mapping_of(args.get("speculative_config"))
    draft = str(drafts.get("model") or "")
    if _HUB_ID.fullmatch(draft) and draft != model["id"]:
        known = model.get("draft") or {}
        size = known.get("weights_bytes") if known.get("id") == draft else None
        found.append({"id": draft, "revision": drafts.get("revision") or "main", "bytes": size})
    return found


def reads_more(args: t.Mapping[str, t.Any]) -> bool:
    """Whether vLLM reads yet other repositories. What lies at a path is in the container already."""
    drafts = args.get("speculative_config")
    if drafts and not mapping_of(drafts):  # a text, which is vLLM's to read
        return True
    return any(args.get(name) and not _is_path(args[name]) for name in ELSEWHERE)


def _is_path(value: t.Any) -> bool:
    """Whether nothing but paths of the container is meant: /folder, NAME=/folder, {name: NAME, path: /folder}."""
    if isinstance(value, t.Mapping):
        return all(map(_is_path, [value["path"]] if "path" in value else value.values()))
    if isinstance(value, list):
        return all(map(_is_path, value))
    return re.fullmatch(r"([^/=]*=)?/.*", str(value)) is not None
