# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for what of the owner the container sees: a model in a folder of the host, vllm_files and vllm_mounts.

A mount must hide nothing that the server needs, and must not show or open what belongs to root or to the collection.
What the paths lead to is looked at on the host, by the module vllm_sources_info.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in, plain, wrong_source

from .._catalog.catalog import Catalog
from .._catalog.fields import MODEL_FOLDER
from .._common.owner_files import OwnerFileError, read_owner_files
from .._common.text import hint, show
from .._common.types import TypedValues
from .._plan.choice import ChoiceError, choose_model
from .._plan.mounts import OWN_TARGETS, model_mounts
from .._plan.names import home
from .common import Lines
from .host_paths import host_paths

_KEYS = {"vllm_files": ("src", "content", "target"), "vllm_mounts": ("source", "target", "read_only")}
_EXAMPLE = {
    "vllm_files": "{src: files/template.jinja, target: /opt/files/template.jinja}",
    "vllm_mounts": "{source: /srv/data, target: /data}",
}
_TARGET = "/opt/files/NAME"
_PATH = re.compile(r"(/[A-Za-z0-9._@+-]+)+/?")
# Without these the image is none any more. A file below them may be replaced: that is what a patch is.
_IMAGES = re.compile(
    r"/?|/(bin|boot|etc|lib|lib32|lib64|opt|root|sbin|tmp|usr|var)"
    r"|/usr/(local/)?(bin|include|lib|lib64|libexec|local|sbin|share)"
    r"|/usr/(local/)?lib/python[0-9.]+(/(dist|site)-packages)?"
)
_KERNELS = re.compile(r"/(dev|proc|run|sys)(/.*)?")


class Target(t.NamedTuple):
    at: str  # where the user writes it
    path: str


def own_mounts(checked: TypedValues, catalog: Catalog) -> Lines:
    wrong = [line for name in _KEYS for line in _items(checked, name)]
    yield from wrong
    model = _folder(checked, catalog)
    if model is not None:
        yield from _model(checked, model["folder"])
    if wrong or not checked.valid(*_KEYS, "vllm_home", "vllm_service_name", "hf_cache_path"):
        return
    sources = list(_sources(checked))
    yield from sources
    yield from _targets(checked, model)
    if not sources:
        yield from _beneath_writable(checked, model)
        yield from host_paths(checked, model)


def unreadable_files(files: t.Any) -> Lines:
    """What is wrong with the files on the controller, which are read for that. FILES has no other problem."""
    try:
        read_owner_files(files)
    except OwnerFileError as error:
        yield str(error)


def _folder(checked: TypedValues, catalog: Catalog) -> t.Mapping[str, t.Any] | None:
    """The model, if it lies in a folder of the host."""
    if not checked.valid("vllm_model", "vllm_models"):
        return None
    try:
        model = choose_model(checked, catalog)
    except ChoiceError:  # which is another rule's
        return None
    return model if model["folder"] else None


def _items(checked: TypedValues, name: str) -> Lines:
    """The shape of each item, and its paths."""
    for number, item in enumerate(checked[name] if checked.valid(name) else []):
        at = f"{name}[{number}]"
        if not isinstance(item, dict):
            yield f"{at}: is not allowed; use a mapping such as {_EXAMPLE[name]}"
            continue
        unknown = [key for key in item if key not in _KEYS[name]]
        if unknown:
            yield f"{at}.{unknown[0]}: unknown key; {hint(str(unknown[0]), _KEYS[name])}"
        yield from _file(at, item) if name == "vllm_files" else _mount(at, item)
        target = item.get("target")
        if target is None:
            yield f"{at}.target: is missing; use a path in the container such as {_TARGET}"
        elif wrong := _wrong_target(target):
            yield f"{at}.target: {show(target)} {wrong}"


def _file(at: str, item: t.Mapping[str, t.Any]) -> Lines:
    if "src" in item and "content" in item:
        yield f"{at}: has src and content; use one of them"
    elif "src" not in item and "content" not in item:
        yield f"{at}: has neither src nor content; use a mapping such as {_EXAMPLE['vllm_files']}"
    elif "content" in item and not isinstance(item["content"], str):  # never shown: it may be a secret
        yield f"{at}.content: is not a text; use one, such as content: |"
    elif "src" in item and not (isinstance(item["src"], str) and item["src"].strip("/ ")):
        yield f"{at}.src: {show(item['src'])} is not allowed; use the path of a file or folder on the controller"
    elif "\0" in str(item.get("src")):
        yield f"{at}.src: holds the control character U+0000; remove it"


def _mount(at: str, item: t.Mapping[str, t.Any]) -> Lines:
    if "source" not in item:
        yield f"{at}.source: is missing; use a file or folder of the host such as /srv/data"
    if not isinstance(item.get("read_only", True), bool):
        yield f"{at}.read_only: {show(item['read_only'])} is not allowed; use true or false"


def _wrong_target(target: t.Any) -> str | None:
    if not isinstance(target, str) or not target.startswith("/"):
        return f"is not allowed; use the whole path in the container, such as {_TARGET}"
    if _IMAGES.fullmatch(plain(target)):
        return f"would hide a folder that the image needs; use one of its own such as {_TARGET}"
    if _KERNELS.fullmatch(plain(target)):
        return f"is not allowed, because the container has it from the kernel; use a path such as {_TARGET}"
    if not _PATH.fullmatch(target) or {".", ".."} & set(target.split("/")):
        return "is not allowed; use letters, digits and . _ @ + - between the /, and no . or .."
    return None


def _model(checked: TypedValues, folder: str) -> Lines:
    wrong = wrong_source(folder, example=MODEL_FOLDER)
    if not wrong and checked.valid("vllm_home", "vllm_service_name", "hf_cache_path"):
        mine, cache = home(checked), checked["hf_cache_path"]
        if lies_in(folder, mine) or lies_in(mine, folder):
            wrong = f"and vllm_home ({mine}), which holds secrets, lie in one another; use another folder"
        elif lies_in(cache, folder):
            wrong = f"holds the model cache ({cache}); use the folder of one model such as {MODEL_FOLDER}"
    if wrong:
        yield f"vllm_model: {show(folder)} {wrong}"


def _sources(checked: TypedValues) -> Lines:
    mine, cache = home(checked), checked["hf_cache_path"]
    for number, item in enumerate(checked["vllm_mounts"]):
        source, at = item["source"], f"vllm_mounts[{number}].source"
        wrong = wrong_source(source, writable=item.get("read_only") is False)
        if not wrong and (lies_in(source, mine) or lies_in(mine, source)):
            wrong = f"and vllm_home ({mine}), which holds secrets, lie in one another; use another folder"
        elif not wrong and (lies_in(source, cache) or lies_in(cache, source)):
            wrong = (
                f"and hf_cache_path ({cache}) lie in one another; the container has the model cache at {OWN_TARGETS[0]}"
                "/huggingface, so use that path, or another folder"
            )
        if wrong:
            yield f"{at}: {show(source)} {wrong}"


def _beneath_writable(checked: TypedValues, model: t.Mapping[str, t.Any] | None) -> Lines:
    """The container could replace such a source by a link, which Docker follows at the next start, as root."""
    writable = {
        f"vllm_mounts[{number}]": item["source"]
        for number, item in enumerate(checked["vllm_mounts"])
        if item.get("read_only") is False
    }
    sources = {f"vllm_mounts[{number}]": item["source"] for number, item in enumerate(checked["vllm_mounts"])}
    if model is not None:
        sources["vllm_model"] = model["folder"]
    for at, source in sources.items():
        for other, folder in writable.items():
            if other != at and lies_in(source, folder):
                where = at if at == "vllm_model" else f"{at}.source"
                yield (
                    f"{where}: {show(source)} lies in the source of {other}, which the container may write: it could"
                    f" make a link of it that leads anywhere on the host; use another folder, or read_only: true there"
                )


def _targets(checked: TypedValues, model: t.Mapping[str, t.Any] | None) -> Lines:
    """No target hides another one."""
    wanted = [
        Target(f"{name}[{number}].target", plain(item["target"]))
        for name in _KEYS
        for number, item in enumerate(checked[name])
    ]
    taken = [Target("the collection", path) for path in OWN_TARGETS]
    if model is not None:
        taken += [Target("vllm_model", mount["target"]) for mount in model_mounts(checked, model)]
    for target in wanted:
        for other in taken:
            if target.path == other.path:
                yield f"{target.at}: {show(target.path)} is taken by {other.at}; use another path such as {_TARGET}"
            elif lies_in(target.path, other.path) or lies_in(other.path, target.path):
                yield (
                    f"{target.at}: {show(target.path)} and {other.path} of {other.at} lie in one another, so that one"
                    f" would hide the other; use another path such as {_TARGET}"
                )
        taken.append(target)
