# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and environment variables that a model needs with some images only, such as the choice of a kernel. Pure."""

from __future__ import annotations

import fnmatch
import operator
import re
import typing as t

from .images import split_reference
from .vllm_options import version_key

Mapping = t.Mapping[str, t.Any]

KEYS = ("image", "vllm", "args", "environment", "why")
_COMPARE: dict[str, t.Callable[[t.Any, t.Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"(>=|<=|>|<)\s*(\d+(?:\.\d+)*)")


def is_rule(rule: t.Any) -> bool:
    """Whether a rule names images, by pattern or by vLLM's version, and says what they need."""
    return (
        isinstance(rule, dict)
        and set(rule) <= set(KEYS)
        and bool(rule.get("image") or rule.get("vllm"))
        and bool(rule.get("args") or rule.get("environment"))
        and all(isinstance(rule.get(key, ""), str) for key in ("image", "vllm", "why"))
        and all(isinstance(rule.get(key, {}), dict) for key in ("args", "environment"))
        and (not rule.get("vllm") or is_range(rule["vllm"]))
    )


def is_range(text: t.Any) -> bool:
    """Whether this is a range of versions."""
    return isinstance(text, str) and all(map(_CONDITION.fullmatch, _conditions(text)))


def speculative_config(draft: Mapping) -> dict[str, t.Any]:
    """vLLM's option for the draft of an entry. Without a repository of its own the layers are the model's (MTP)."""
    model = {"model": draft.get("id"), "revision": draft.get("revision")}
    return {
        "method": draft["method"],
        **{key: value for key, value in model.items() if value},
        "num_speculative_tokens": draft["tokens"],
        **(draft.get("args") or {}),
    }


def applies(rule: Mapping, ref: str, version: str | None) -> bool:
    """Whether a rule is meant for an image. One that asks for a version is not, if the version is not known."""
    without_digest = ref.partition("@")[0]
    name = without_digest if split_reference(ref)[2] else f"{without_digest}:"  # a/b:* is meant without a tag, too
    if rule.get("image") and not fnmatch.fnmatchcase(name, str(rule["image"])):
        return False
    if not rule.get("vllm"):
        return True
    return version is not None and all(_holds(condition, version) for condition in _conditions(rule["vllm"]))


def for_image(model: Mapping, image: Mapping) -> dict[str, dict[str, t.Any]]:
    """What this image adds to this model: the image's own needs, its draft, then its rules' needs, in their order.

    image_notes says why, by the name of the option or variable.
    """
    # by the key of its entry: a digest alone has no tag that a pattern could match
    name = image.get("key") or image["ref"]
    chosen = [rule for rule in model.get("per_image") or [] if applies(rule, name, image.get("vllm"))]
    added: dict[str, dict[str, t.Any]] = {"image_args": {}, "image_environment": {}, "image_notes": {}}
    draft = model.get("draft") or {}
    drafts = []
    if draft and applies({"vllm": draft.get("vllm")}, name, image.get("vllm")):
        why = "tokens are drafted ahead and checked together (vllm_extra_args: {speculative_config: null} drops it)"
        drafts.append({"args": {"speculative_config": speculative_config(draft)}, "why": why})
    for part in (image, *drafts, *chosen):
        for what in ("args", "environment"):
            values = part.get(what) or {}
            added[f"image_{what}"].update(values)
            added["image_notes"].update(
                dict.fromkeys(values, part.get("why") or f"every model needs it with {image['ref']}")
            )
    return added


def _conditions(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _holds(condition: str, version: str) -> bool:
    found = _CONDITION.fullmatch(condition)
    return found is not None and _COMPARE[found[1]](version_key(version), version_key(found[2]))
