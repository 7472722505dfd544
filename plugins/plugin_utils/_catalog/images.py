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
# Builds for Sparks whose tags name the release of vLLM, and whether they have Ray (S: their readme)
_BY_RELEASE: t.Mapping[str, bool | None] = {
    "scitrera/dgx-spark-vllm": True,
    "timothystewart6/vllm-gb10": None,
    "aeon-7/aeon-vllm-ultimate": None,
}
GUIDES = "nvcr.io/nvidia/vllm:25.09-py3"

Image = t.Mapping[str, t.Any]
# Formats of weights that no release of vLLM reads (S: its QUANTIZATION_METHODS); a patched build may.
NOT_READ = frozenset(["exl2", "exl3", "mlx", "eetq", "higgs", "spqr", "vptq", "quanto"])
# Formats that a release has left to a plugin of its own, which no image here brings (S: vllm-project/vllm#43529).
_BY_PLUGIN = {"bitsandbytes": ("0.28", "vllm-bnb-plugin")}
RARE_FORMATS = NOT_READ | {*_BY_PLUGIN}

# What the path of an image says of the server in it, if that is not vLLM alone.
_OTHER_SERVERS = {
    "sglang": "SGLang",
    "tensorrt-llm": "TensorRT-LLM",
    "llama.cpp": "llama.cpp",
    "ollama": "Ollama",
    "text-generation-inference": "Text Generation Inference",
    "text-embeddings-inference": "Text Embeddings Inference",
    "vllm-omni": "vLLM-Omni",
}
_NIM = "nvcr.io/nim/"

# nightly, cu130-nightly, latest-aarch64; but nightly-<commit> and nightly-<date> are one build
_MOVING = re.compile(r"(.*-)?(latest|nightly)(-(?!\d|[0-9a-f]{7,40}(-|$)).*)?")


# v0.27.1-aarch64, v0.31.0-aarch64-cu129 of upstream and its mirrors; 26.08-py3, 26.05.post1-py3 of NGC
_UPSTREAM_TAG = re.compile(r"v?(\d+\.\d+(?:\.\d+)*(?:\.?(?:a|b|post|rc|dev)\d+)*)(?:-.*)?")
_DATED_TAG = re.compile(rf"(?:\d{{4}}-\d\d-\d\d-)?{_UPSTREAM_TAG.pattern}")  # 2026-08-16-v0.27.1
_CUDA_TAG = re.compile(r"(?:.*-)?cu(\d\d)(\d)(?:-.*)?")
_NGC_TAG = re.compile(r"(\d\d\.\d\d)(?:\.post\d+)?(?:-.*)?")
# From these on images have no Ray (S: gpustack/gpustack issue 5430; NVIDIA/dgx-spark-playbooks issue 109).
_NO_RAY, _NO_RAY_NGC = "0.18", "26.05"
_SPANS_HOSTS = "0.12"  # vllm-project/vllm pull request 23691 brought --nnodes
# The NCCL that pip brings with vLLM, and so upstream's images (C: its requirements on aarch64), the newest first.
_NCCL = (("0.33", "2.30.7"), ("0.27", "2.29.7"), ("0.20", "2.28.9"))


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


def other_server(ref: str) -> str | None:
    """The server that an image has by its path, which takes other options than `vllm serve` and starts otherwise."""
    if ref.startswith(_NIM):
        return "NVIDIA NIM"
    repository = split_reference(ref)[1].lower()
    return next((server for word, server in _OTHER_SERVERS.items() if word in repository), None)


def is_upstream(ref: str) -> bool:
    """Whether it is upstream's image, there or on a mirror. Somebody else's on Docker Hub is another one."""
    registry, repository, _tag, _digest = split_reference(ref)
    if registry in ("", "docker.io"):
        return repository == UPSTREAM
    return f"/{repository}".endswith(f"/{UPSTREAM.rpartition('/')[2]}")


def _by_release(repository: str) -> str | None:
    return next((build for build in _BY_RELEASE if f"/{repository}".endswith(f"/{build}")), None)


def told_by_tag(ref: str, images: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the tag of an image says of it, where its repository numbers tags by vLLM's version or is NGC's."""
    _registry, repository, tag, _digest = split_reference(ref)
    found: dict[str, t.Any] = {}
    if is_upstream(ref):
        version, cuda = _UPSTREAM_TAG.fullmatch(tag), _CUDA_TAG.fullmatch(tag)
        if version:
            found["vllm"] = version[1]
            found["ray"] = False if version_key(version[1]) >= version_key(_NO_RAY) else None
            found["multi_node"] = version_key(version[1]) >= version_key(_SPANS_HOSTS)
            found["nccl"] = next((nccl for since, nccl in _NCCL if version_key(version[1]) >= version_key(since)), None)
        if cuda:
            found["cuda"] = f"{cuda[1]}.{cuda[2]}"
    elif (build := _by_release(repository)) and (version := _DATED_TAG.fullmatch(tag)):
        found = {"vllm": version[1], "ray": _BY_RELEASE[build]}
        found["multi_node"] = version_key(version[1]) >= version_key(_SPANS_HOSTS)
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


class Architectures:
    """Which versions of vLLM know an architecture, as tools/record_architectures.py recorded it."""

    def __init__(self, recorded: t.Mapping[str, t.Any]) -> None:
        self._versions = [str(version) for version in recorded["versions"]]
        self._spans: t.Mapping[str, t.Mapping[str, str]] = recorded["architectures"]

    def first(self, architecture: str) -> str | None:
        """The first version that has it; None if no recorded one has, or the first of all.

        Without its patch number where no other of that minor version is recorded: 0.17 for 0.17.1.
        """
        since = (self._spans.get(architecture) or {}).get("since")
        if since is None or _same_minor(since, self._before(since)):
            return since
        return ".".join(since.split(".")[:2])

    def _before(self, version: str) -> str:
        return self._versions[self._versions.index(version) - 1]

    def gone(self, architecture: str) -> str | None:
        """The first recorded version that has it no more."""
        until = (self._spans.get(architecture) or {}).get("until")
        return None if until is None else self._after(until)

    def _after(self, version: str) -> str:
        return self._versions[self._versions.index(version) + 1]

    def knows(self, architecture: str, version: str) -> bool | None:
        """Whether a version has it; None if that does not follow from those recorded."""
        span = self._spans.get(architecture)
        if span is None:
            return None
        key = version_key(version)
        if "since" in span and key < version_key(span["since"]):
            before = self._before(span["since"])
            return False if key <= version_key(before) or _same_minor(version, before) else None
        if "until" in span and key > version_key(span["until"]):
            return False if key >= version_key(self._after(span["until"])) else None
        return True


def _same_minor(version: str, other: str) -> bool:
    """Whether two versions are patch releases of one minor version, which bring fixes and no architectures."""
    return version_key(version).numbers[:2] == version_key(other).numbers[:2]


def can_run(image: Image, architectures: t.Sequence[str], known: Architectures) -> str | None:
    """Why an image cannot run a model with one of these architectures, which its config.json names; None if it can.

    What the image itself was asked for (`architectures` of its entry) counts more than what is recorded of its version.
    None also where nobody knows: an architecture that vLLM has never named may run by transformers.
    """
    own, version = image.get("architectures"), image.get("vllm")
    named = " or ".join(architectures)
    if own and architectures:
        return None if set(architectures) & set(own) else f"its own registry has no {named}"
    if not version or not architectures:
        return None
    answers = [known.knows(architecture, str(version)) for architecture in architectures]
    if any(answer is not False for answer in answers):
        return None
    firsts = [first for architecture in architectures if (first := known.first(architecture))]
    newer = [first for first in firsts if version_key(first) > version_key(str(version))]
    if newer:
        return f"its vLLM {version} has no {named}, which came with {min(newer, key=version_key)}"
    return f"its vLLM {version} has no {named} any more"


def oldest(architectures: t.Iterable[str], known: Architectures) -> str | None:
    """The first version of vLLM that has one of these architectures, which the first recorded one has not."""
    firsts = [known.first(architecture) for architecture in architectures]
    if not firsts or None in firsts:  # one is as old as the record, or nobody knows
        return None
    return min((first for first in firsts if first), key=version_key)


def gone_in(architectures: t.Iterable[str], known: Architectures) -> str | None:
    """The first version of vLLM that has none of these architectures any more; None if they are all there."""
    versions = [known.gone(architecture) for architecture in architectures]
    if not versions or None in versions:
        return None
    return max((version for version in versions if version), key=version_key)


def family(name: str, families: t.Sequence[Image]) -> Image | None:
    """What the name of a repository says of its model."""
    short = name.rpartition("/")[2].lower()
    return next((item for item in families if fnmatch.fnmatchcase(short, str(item["name"]))), None)


def not_read(quantization: t.Any, image: Image) -> str | None:
    """Why an image reads no weights in this format. None also where its version is unknown."""
    version = image.get("vllm")
    if version and quantization in NOT_READ:
        return f"its vLLM {version} reads no weights in the format {quantization}"
    since, plugin = _BY_PLUGIN.get(str(quantization), ("", ""))
    if version and plugin and version_key(str(version)) >= version_key(since):
        return f"its vLLM {version} reads {quantization} with {plugin} only, which is no part of it"
    return None


def unable(model: Image, image: Image) -> str | None:
    """Why an image cannot run a model."""
    for pattern, reason in (image.get("cannot_run") or {}).items():
        if reason and fnmatch.fnmatchcase(str(model["id"]), str(pattern)):
            return str(reason)
    if reason := not_read(model.get("quantization"), image):
        return reason
    own, named = image.get("architectures") or [], model.get("architectures") or []
    if own and named:  # what the image itself was asked for counts more than its version
        return None if set(own) & set(named) else f"its own registry has no {' or '.join(named)}"
    least, gone, version = model.get("min_vllm"), model.get("gone_in"), image.get("vllm")
    if least and version and version_key(version) < version_key(least):
        return f"its vLLM {version} is older than {least}, the first that knows it"
    if gone and version and version_key(version) >= version_key(gone):
        return f"its vLLM {version} has no {' or '.join(named)} any more"
    return None


def _surely_able(model: Image, image: Image) -> bool:
    is_any_right = not (model.get("min_vllm") or model.get("gone_in"))
    return unable(model, image) is None and bool(image.get("vllm") or is_any_right)


def newest_able(images: t.Mapping[str, t.Any], model: Image, known: Architectures) -> str | None:
    """The good image with the newest vLLM that can run a model."""
    able = [
        key
        for key, entry in images.items()
        if isinstance(entry, dict)
        and entry.get("status") == "good"
        and entry.get("vllm")
        and not moves(key)
        and unable(model, entry) is None
        and can_run(entry, model.get("architectures") or [], known) is None
    ]
    return max(able, key=lambda key: version_key(str(images[key]["vllm"])), default=None)


def nearest_good(ref: str, images: t.Mapping[str, t.Any], model: Image | None = None) -> str | None:
    """The image to take instead: of the same repository the next newer one, else its newest; or the guide's."""
    good = [
        key
        for key, entry in images.items()
        if isinstance(entry, dict) and entry.get("status") == "good" and (not model or _surely_able(model, entry))
    ]
    same = [key for key in good if split_reference(key)[:2] == split_reference(ref)[:2] and not moves(key)]
    tag = split_reference(ref)[2]
    numbered = [key for key in same if re.match(r"v?\d", split_reference(key)[2])]
    if numbered:
        numbered.sort(key=lambda key: version_key(split_reference(key)[2]))
        # 25.12.post1-py3 comes after 25.12-py3; a tag without a number is of today
        wanted = version_key(tag) if re.match(r"v?\d", tag) else None
        newer = [key for key in numbered if wanted and version_key(split_reference(key)[2]) >= wanted]
        # of two builds of one release the one that is named first
        return newer[0] if newer else max(numbered, key=lambda key: version_key(split_reference(key)[2]))
    if same or GUIDES not in good:
        return next(iter(same or [key for key in good if not moves(key)]), None)
    return GUIDES


def faults(image: Image) -> str:
    """What is broken in it, as one text."""
    return "; ".join(str(fault["what"]).rstrip(".") for fault in image.get("faults") or [])


def met(image: Image, settings: t.Mapping[str, t.Any]) -> list[str]:
    """The faults that a server with these options, environment and variables of the role meets, with their remedies."""
    return [
        " ".join(f"{str(fault[part]).rstrip('.')}." for part in ("what", "remedy") if fault.get(part))
        for fault in image.get("faults") or []
        if is_met(fault, settings)
    ]


def is_met(fault: t.Mapping[str, t.Any], settings: t.Mapping[str, t.Any]) -> bool:
    """Whether a server with these settings meets a fault."""
    only_with = fault.get("only_with") or {}
    return all(name in settings and _same(settings[name], value) for name, value in only_with.items())


def _same(value: t.Any, wanted: t.Any) -> bool:
    """What only_with says: a value, a list for any of them, or "*" for whatever is set."""
    if wanted == "*":
        return value is not None
    if isinstance(wanted, list):
        return any(_same(value, item) for item in wanted)
    if isinstance(wanted, bool):
        return value is not None and boolean(value, strict=False) is wanted
    return str(value) == str(wanted)
