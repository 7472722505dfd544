# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths in options and environment: a command line of the host names what the container has elsewhere."""

from __future__ import annotations

import posixpath
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in, plain

from .._catalog.vllm_options import of_json
from .._common.text import show
from .._common.types import TypedValues
from .._plan.layers import CONTAINER_CACHE
from .._plan.mounts import OWN_TARGETS, model_mounts
from .common import Lines

_PLACES = ("vllm_extra_args", "vllm_extra_env")
# Clients may call a model, and reach the server, by what looks like a path; the model may read and write it.
_NO_PATHS = ("served_model_name", "root_path", "override_generation_config", "default_chat_template_kwargs")


def host_paths(checked: TypedValues, model: t.Mapping[str, t.Any] | None) -> Lines:
    """MODEL is the one that lies in a folder of the host, if it does. Mounts and files have no other problem."""
    seen = {plain(item["src"]): plain(item["target"]) for item in checked["vllm_files"] if item.get("src")}
    seen |= {plain(item["source"]): plain(item["target"]) for item in checked["vllm_mounts"]}
    if model is not None:
        seen |= {mount["source"]: mount["target"] for mount in model_mounts(checked, model)}
    seen[plain(checked["hf_cache_path"])] = CONTAINER_CACHE
    targets = {*seen.values(), *(plain(item["target"]) for item in checked["vllm_files"]), *OWN_TARGETS}
    for place in _PLACES:
        for name, value in checked[place].items() if checked.valid(place) else ():
            for path in _paths(value) if name not in _NO_PATHS else ():
                source = next((source for source in seen if lies_in(path, source)), None)
                if source and not any(lies_in(path, target) for target in targets):
                    there = posixpath.normpath(posixpath.join(seen[source], posixpath.relpath(path, source)))
                    yield f"{place}.{name}: {show(path)} is no path of the container, which has it at {there}"


def _paths(value: t.Any) -> t.Iterator[str]:
    """Also those in NAME=PATH and in JSON, as lora_modules has them, and in PATH:PATH, as PYTHONPATH."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = of_json(value)  # a template is none
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key != "name"]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, str):
        path = value.rpartition("=")[2]
        if path.startswith("/"):
            yield from (plain(part) for part in path.split(":") if part.startswith("/"))
