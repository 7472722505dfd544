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
NGC = "nvidia/vllm"
GUIDES = "nvcr.io/nvidia/vllm:25.09-py3"
# What vllm_image_allow may hold, one word for each reason to refuse an image.
ALLOW = ("moving", "avoid", "unknown", "cannot_run")

Image = t.Mapping[str, t.Any]

# nightly, cu130-nightly, latest-aarch64; but nightly-<commit> and nightly-<date> are one build
_MOVING = re.compile(r"(.*-)?(latest|nightly)(-(?!\d|[0-9a-f]{7,40}(-|$)).*)?")


# v0.27.1-aarch64, v0.31.0-aarch64-cu129 of upstream and its mirrors; 26.08-py3, 26.05.post1-py3 of NGC
_UPSTREAM_TAG = re.compile(r"v?(\d+\.\d+(?:\.\d+)*(?:\.?(?:post|rc|dev)\d+)?)(?:-.*)?")
_CUDA_TAG = re.compile(r"(?:.*-)?cu(\d\d)(\d)(?:-.*)?")
_NGC_TAG = re.compile(r"(\d\d\.\d\d)(?:\.post\d+)?(?:-.*)?")
# From these on images have no Ray (S: gpustack/gpustack issue 5430; NVIDIA/dgx-spark-playbooks issue 109).
_NO_RAY, _NO_RAY_NGC = "0.18", "26.05"
_SPANS_HOSTS = "0.12"  # vllm-project/vllm pull request 23691 brought --nnodes


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


def told_by_tag(ref: str, images: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the tag of an image says of it, where its repository numbers tags by vLLM's version or is NGC's."""
    _registry, repository, tag, _digest = split_reference(ref)
    found: dict[str, t.Any] = {}
    if f"/{repository}".endswith(f"/{UPSTREAM.rpartition('/')[2]}"):
        version, cuda = _UPSTREAM_TAG.fullmatch(tag), _CUDA_TAG.fullmatch(tag)
        if version:
            found["vllm"] = version[1]
            found["ray"] = False if version_key(version[1]) >= version_key(_NO_RAY) else None
            found["multi_node"] = version_key(version[1]) >= version_key(_SPANS_HOSTS)
        if cuda:
            found["cuda"] = f"{cuda[1]}.{cuda[2]}"
    elif f"/{repository}".endswith(f"/{NGC}"):
        month = _NGC_TAG.fullmatch(tag)
        if month:
            # a later build of a known month
            twin: Image = next(
                (entry for key, entry in images.items() if split_reference(key)[1:3] == (NGC, f"{month[1]}-py3")), {}
            )
            found = {key: twin[key] for key in ("vllm", "cuda", "multi_node") if twin.get(key) is not None}
            found["ray"] = False if version_key(month[1]) >= version_key(_NO_RAY_NGC) else twin.get("ray")
    return {key: value for key, value in found.items() if value is not None}


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
