# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the owner the container sees: a model in a folder of the host, vllm_files, vllm_mounts. Pure."""

from __future__ import annotations

import posixpath
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in, plain

from .._common.owner_files import OwnerFile
from .choice import Values
from .layers import CONTAINER_CACHE, CONTAINER_CODE

# Where the container sees a model that lies in a folder of the host.
CONTAINER_MODELS = "/models"
# What the collection itself mounts there: compile caches and models, and its code.
OWN_TARGETS = (posixpath.dirname(CONTAINER_CACHE), CONTAINER_CODE)
# In the folder of a release, with the files of vllm_files, each named after its content.
FILES = "files"

Mount = dict[str, t.Any]


def model_path(values: Values, model: t.Mapping[str, t.Any]) -> str:
    """What vLLM is told to serve: the id of the model, or where the container sees its folder."""
    folder = model["folder"]
    if not folder:
        return str(model["id"])
    if _is_in_cache(values, folder):
        return posixpath.join(CONTAINER_CACHE, posixpath.relpath(folder, plain(values["hf_cache_path"])))
    return f"{CONTAINER_MODELS}/{posixpath.basename(folder)}"


def model_mounts(values: Values, model: t.Mapping[str, t.Any]) -> list[Mount]:
    """The one of a model in a folder outside of the model cache."""
    if not model["folder"] or _is_in_cache(values, model["folder"]):
        return []
    return [_mount(model["folder"], model_path(values, model), "vllm_model")]


def mounts(values: Values, model: t.Mapping[str, t.Any], files: t.Sequence[OwnerFile] = ()) -> list[Mount]:
    """Each with source, target, read_only and origin, the variable.

    A relative source lies in the folder of the release.
    """
    found = model_mounts(values, model)
    found += [_mount(name_of(file), file.target, f"vllm_files[{file.number}]") for file in files]
    for number, item in enumerate(values["vllm_mounts"]):
        target, source = plain(item["target"]), plain(item["source"])
        found.append(_mount(source, target, f"vllm_mounts[{number}]", item.get("read_only", True) is not False))
    return found


def name_of(file: OwnerFile) -> str:
    """Its path in the folder of a release. The name of the release follows from it, and so from the content."""
    return f"{FILES}/{file.digest[:16]}"


def placed(files: t.Sequence[OwnerFile]) -> list[dict[str, t.Any]]:
    """What has to be copied to the host, each content once: name, path (empty for inline content), number."""
    unique = {name_of(file): file for file in files}
    return [{"name": name, "path": file.path, "number": file.number} for name, file in unique.items()]


def _mount(source: str, target: str, origin: str, read_only: bool = True) -> Mount:
    return {"source": source, "target": target, "read_only": read_only, "origin": origin}


def _is_in_cache(values: Values, folder: str) -> bool:
    """The container has the model cache anyway. It may write there, so nothing below may be a mount of its own."""
    return lies_in(folder, values["hf_cache_path"])
