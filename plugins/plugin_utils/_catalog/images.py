# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image matrix: which entry a reference means, what an image can run, and the nearest one that is good. Pure."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean

from .vllm_options import version_key

UPSTREAM = "vllm/vllm-openai"
GUIDES = "nvcr.io/nvidia/vllm:25.09-py3"
# What vllm_image_allow may hold, one word for each reason to refuse an image.
ALLOW = ("moving", "avoid", "unknown", "cannot_run")

Image = t.Mapping[str, t.Any]

# nightly, cu130-nightly, latest-aarch64; but nightly-<commit> and nightly-<date> are one build
_MOVING = re.compile(r"(.*-)?(latest|nightly)(-(?!\d|[0-9a-f]{7,40}(-|$)).*)?")


def split_reference(ref: str) -> tuple[str, str, str, str]:
    """An image reference as (registry, repository, tag, digest); what it does not name is empty."""
    rest, _at, digest = ref.partition("@")
    first, slash, tail = rest.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    path = tail if registry else rest
    repository, _colon, tag = path.partition(":")
    return registry, repository, tag, digest


def moves(ref: str) -> bool:
    """Whether a reference may be another image tomorrow."""
    _registry, _repository, tag, digest = split_reference(ref)
    return not digest and (not tag or _MOVING.fullmatch(tag) is not None)


def find(ref: str, images: t.Mapping[str, t.Any]) -> str | None:
    """The key of a reference: itself, without its digest, or the image of the same repository that has this digest."""
    without, _at, digest = ref.partition("@")
    for key in (ref, without):
        if key in images:
            return key
    if digest:
        for key, entry in images.items():
            same = split_reference(key)[:2] == split_reference(ref)[:2]
            if same and isinstance(entry, dict) and entry.get("digest") == digest:
                return key
    return None


def mirrored(ref: str, images: t.Iterable[str]) -> tuple[str, str] | None:
    """The known image that a reference to another registry stands for, and the mirror: its host, and path if any."""
    registry, repository, tag, _digest = split_reference(ref)
    for key in images:
        known = split_reference(key)
        if known[2] == tag and f"/{repository}".endswith(f"/{known[1]}"):
            return key, f"{registry}/{repository.removesuffix(known[1])}".strip("/")
    return None


def unable(model: Image, image: Image) -> str | None:
    """Why an image cannot run a model."""
    for pattern, reason in (image.get("cannot_run") or {}).items():
        if reason and fnmatch.fnmatchcase(str(model["id"]), str(pattern)):
            return str(reason)
    oldest, version = model.get("min_vllm"), image.get("vllm")
    if oldest and version and version_key(version) < version_key(oldest):
        return f"its vLLM {version} is older than {oldest}, the first that knows it"
    return None


def _surely_able(model: Image, image: Image) -> bool:
    return unable(model, image) is None and bool(image.get("vllm") or not model.get("min_vllm"))


def nearest_good(ref: str, images: t.Mapping[str, t.Any], model: Image | None = None) -> str | None:
    """The image to take instead: of the same repository the next newer one, else the newest; or the guide's."""
    good = [
        key
        for key, entry in images.items()
        if isinstance(entry, dict) and entry.get("status") == "good" and (not model or _surely_able(model, entry))
    ]
    same = [key for key in good if split_reference(key)[:2] == split_reference(ref)[:2]]
    tag = split_reference(ref)[2]
    if same and re.match(r"v?\d", tag):
        wanted = version_key(tag)  # 25.12.post1-py3 comes after 25.12-py3
        same.sort(key=lambda key: version_key(split_reference(key)[2]))
        return next((key for key in same if version_key(split_reference(key)[2]) >= wanted), same[-1])
    return GUIDES if GUIDES in good else next(iter(same or good), None)


def faults(image: Image) -> str:
    """What is broken in it, as one text."""
    return "; ".join(str(fault["what"]).rstrip(".") for fault in image.get("faults") or [])


def met(image: Image, settings: t.Mapping[str, t.Any]) -> list[str]:
    """The faults that a server with these options, environment and variables of the role meets, with their remedies."""
    return [
        " ".join(f"{str(fault[part]).rstrip('.')}." for part in ("what", "remedy") if fault.get(part))
        for fault in image.get("faults") or []
        if all(
            name in settings and _same(settings[name], value) for name, value in (fault.get("only_with") or {}).items()
        )
    ]


def _same(value: t.Any, wanted: t.Any) -> bool:
    if isinstance(wanted, bool):
        return value is not None and boolean(value, strict=False) is wanted
    return str(value) == str(wanted)
