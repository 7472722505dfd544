# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog: models, images and profiles of the folder catalog, with the user's own entries merged over them."""

from __future__ import annotations

import copy
import functools
import re
import typing as t
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import plain

from .._common.text import known_or_add, show
from .._common.yaml_files import COLLECTION, read
from .advisories import advisories_of
from .fields import (
    MODEL_FIELDS,
    MODEL_FOLDER,
    Entry,
    image_problems,
    is_folder,
    is_hugging_face_id,
    model_problems,
    profile_problems,
)
from .images import (
    GUIDES,
    RARE_FORMATS,
    UPSTREAM,
    Architectures,
    can_run,
    family,
    find,
    gone_in,
    mirrored,
    nearest_good,
    newest_able,
    not_read,
    oldest,
    other_server,
    split_reference,
    told_by_tag,
    unable,
)
from .per_image import for_image
from .vllm_options import Options, Recorded, version_key

FOLDER = COLLECTION / "catalog"
BANDWIDTH = 273e9  # bytes a second that a GB10 reads; no stream is faster than this over the bytes that a token needs

Entries = dict[str, Entry]

# What the name of a repository says of a model.
_SAID = ("architectures", "min_vllm")
_HUB = r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)?"
_REFERENCE = re.compile(  # how hub and other programs name a repository, with a revision or without
    _HUB + r"([\w.-]+/[\w.-]+)(?:/(?:tree|resolve|blob)/([\w.-]+)(?:/.*)?|@([\w./-]+?))?/?(?:\?.*)?"
)
_FILE = re.compile(r"(/(?:.*/)?)[^/]+\.(gguf|safetensors|bin|pth?|json)", re.IGNORECASE)
_NO_GGUF = (
    "GGUF is neither planned nor checked here, use the folder of its safetensors, such as one in FP8, NVFP4 or AWQ"
)
_GGUF_FILE = re.compile(_HUB + r"[^/:]+/[^/:]+:[\w.-]+")


class CatalogError(ValueError):
    """One line that says what is wrong with an entry, or that there is none."""


def merge(below: t.Any, above: t.Any) -> t.Any:
    """Mappings are merged key by key, anything else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    return copy.deepcopy(above)


@functools.cache
def _recorded(folder: Path) -> Recorded:
    return Recorded(folder / "vllm_options", read)


class Catalog:
    """What this collection knows. Every method takes the user's own entries and never changes them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._recorded = _recorded(folder)

    def models(self, own: t.Mapping[str, t.Any] | None = None) -> Entries:
        """All models by name, ours first."""
        return t.cast(Entries, merge(self._models, dict(own or {})))

    @functools.cached_property
    def _models(self) -> Entries:
        return {path.stem: read(path) for path in sorted((self._folder / "models").glob("*.yml"))}

    def images(self, own: t.Mapping[str, t.Any] | None = None) -> Entries:
        return t.cast(Entries, merge(read(self._folder / "images.yml"), dict(own or {})))

    def profiles(self, own: t.Mapping[str, t.Any] | None = None) -> Entries:
        return t.cast(Entries, merge(read(self._folder / "profiles.yml"), dict(own or {})))

    def architectures(self) -> Architectures:
        return Architectures(read(self._folder / "architectures.yml"))

    def advisories(self) -> Entries:
        return t.cast(Entries, read(self._folder / "advisories.yml"))

    def families(self) -> list[Entry]:
        return t.cast("list[Entry]", read(self._folder / "families.yml"))

    def hosts(self) -> list[Entry]:
        """Kernels and drivers that are known to be bad."""
        return t.cast("list[Entry]", read(self._folder / "hosts.yml"))

    def options(self, version: str | None, added: t.Iterable[str] = ()) -> Options:
        return self._recorded.options(version, added)

    def model(self, name: str, own: t.Mapping[str, t.Any] | None = None, image: Entry | None = None) -> Entry:
        """One model by its name, its Hugging Face id or its folder on the host, complete, with its name; and what it
        needs with an image.

        Of one that is not described nothing else is known than what its name says of its architecture: see the
        module model_info.
        """
        models = self.models(own)
        if name not in models:
            name = _plain(name)
            same_id = [
                key for key, entry in models.items() if isinstance(entry, dict) and _plain(entry.get("id")) == name
            ]
            if not same_id and is_folder(name) and (file := _FILE.fullmatch(name)):
                advice = f"write its folder, {file[1].rstrip('/') or '/'}" if file[2].lower() != "gguf" else _NO_GGUF
                raise CatalogError(f"{show(name)} looks like a file, not the folder of a model; {advice}")
            if not same_id and (is_hugging_face_id(name) or is_folder(name)):
                said = family(name, self.families()) or {}
                return self.on({**_stranger(name), **{key: said.get(key) for key in _SAID}}, image)
            if not same_id and name.startswith((".", "~", "$", "file:")):
                raise CatalogError(
                    f"{show(name)} is not the whole path of a folder; write all of it, such as {MODEL_FOLDER}"
                )
            if not same_id and _GGUF_FILE.fullmatch(name):
                raise CatalogError(
                    f"{show(name)} names a GGUF file of a repository, which is neither planned nor downloaded here; use"
                    " its repository of safetensors, such as one in FP8, NVFP4 or AWQ"
                )
            if not same_id and (part := _REFERENCE.fullmatch(name)) and is_hugging_face_id(part[1]):
                named = part[2] or part[3]
                revision = f", and vllm_extra_args: {{revision: {named}}}" if named else ""
                raise CatalogError(f"{show(name)} is more than the id of a repository; write {part[1]}{revision}")
            if not same_id and "/" in name:
                raise CatalogError(
                    f"{show(name)} is neither the id of a repository nor the whole path of a folder; write one such as"
                    f" Qwen/Qwen3-8B-FP8, or {MODEL_FOLDER}"
                )
            if not same_id:
                raise CatalogError(f"{show(name)} is not in the catalog; {known_or_add(name, models, 'vllm_models')}")
            if len(same_id) > 1:
                raise CatalogError(f"{show(name)} is the id of {' and '.join(same_id)}; use one of these names")
            name = same_id[0]
        lines = model_problems(name, models[name])
        if lines:
            raise CatalogError(lines[0])
        entry: Entry = {"name": name, "described": True, **copy.deepcopy(models[name])}
        entry["id"] = _plain(entry["id"])
        entry["folder"] = entry["id"] if is_folder(entry["id"]) else None
        entry.setdefault("config_context", entry["native_context"])
        for key, default in (("gated", False), ("environment", {}), ("args", {})):
            if entry.get(key) is None:
                entry[key] = default
        if entry.get("revision"):  # vLLM gets it as an option; the download looks there, too
            entry["args"] = {"revision": entry["revision"], **entry["args"]}
        if entry.get("active_bytes"):
            entry["roofline"] = round(BANDWIDTH / entry["active_bytes"], 1)
        return self.on(entry, image)

    def on(self, model: Entry, image: Entry | None) -> Entry:
        """A model with the oldest vLLM that has its architecture, and the first that has it no more; and with what an
        image adds to it, and why the image cannot run it, if so."""
        architectures = model.get("architectures") or []
        first = oldest(architectures, self.architectures()) if architectures else None
        if first and version_key(first) > version_key(model.get("min_vllm") or ""):
            model = {**model, "min_vllm": first}
        gone = gone_in(architectures, self.architectures()) if architectures else None
        if gone or model.get("gone_in"):  # its config.json may name another architecture than its name
            model = {**model, "gone_in": gone}
        if image is None:
            return model
        reason = unable(model, image)
        if reason is None and architectures:
            reason = can_run(image, architectures, self.architectures())
        return {**model, **for_image(model, image), "image_cannot_run": reason}

    def image_for(self, model: Entry | None, own: t.Mapping[str, t.Any] | None = None) -> str:
        """The image of a model where none is chosen: the one that its entry names, else the newest good one that can
        run it. Where none can, or nobody knows the model, the guide's: the checks say why it will not do."""
        if model is None:
            return GUIDES
        named, quantization = model.get("image"), model.get("quantization")
        if named and str(quantization) not in RARE_FORMATS:
            return str(named)
        images = self.images(own)
        if named and not not_read(quantization, images.get(named) or {}):
            return str(named)
        return str(newest_able(images, model, self.architectures()) or GUIDES)

    def profile(self, name: str, own: t.Mapping[str, t.Any] | None = None) -> Entry:
        profiles = self.profiles(own)
        if name not in profiles:
            raise CatalogError(f"{show(name)} is no profile; {known_or_add(name, profiles, 'vllm_profiles')}")
        lines = profile_problems(name, profiles[name])
        if lines:
            raise CatalogError(lines[0])
        return profiles[name]

    def image(
        self,
        ref: str,
        own: t.Mapping[str, t.Any] | None = None,
        unknown_too: bool = False,
        model: Entry | None = None,
    ) -> Entry:
        """One image by its reference, complete; one that is not known only on request. The model is for the advice."""
        images = self.images(own)
        registry, repository, tag, digest = split_reference(ref)
        known = find(ref, images)
        if known is None and not unknown_too:
            raise CatalogError(f"{show(ref)} is not in the image matrix; {_known_instead(ref, images, model)}")
        found = {} if known is None else images[known]
        lines = image_problems(known or ref, found)
        if lines:
            raise CatalogError(lines[0])
        if digest and found.get("digest") not in (None, digest):
            pinned = f"{str(known).partition('@')[0]}@{found['digest']}"
            raise CatalogError(f"{show(ref)} has another digest than {known}; use {pinned}, or correct vllm_images")
        entry: Entry = {"ref": ref, "key": known or ref, **told_by_tag(ref, images), **copy.deepcopy(found)}
        if entry.get("command_prefix") is None:
            is_upstream = f"/{repository}".endswith(f"/{UPSTREAM.rpartition('/')[2]}")
            entry["command_prefix"] = [] if is_upstream else ["vllm", "serve"]
        defaults: Entry = {
            "vllm": None,
            "cuda": None,
            "min_driver": None,
            "nccl": None,
            "ray": None,
            "multi_node": None,
            "args": {},
            "environment": {},
            "status": "unknown",
            "faults": [],
            "cannot_run": {},
        }
        for key, default in defaults.items():
            if entry.get(key) is None:
                entry[key] = default
        entry["security_with_key"] = []
        if entry.get("security") is None:
            entry["security"] = advisories_of(entry["vllm"], self.advisories())
            entry["security_with_key"] = advisories_of(entry["vllm"], self.advisories(), with_key=True)
        # a mirror keeps the path: MIRROR/nvidia/vllm:25.09-py3
        entry["registry"] = registry or "docker.io"
        entry["path"] = repository + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        return entry


def _plain(name: t.Any) -> t.Any:
    """The path of a folder as one text, however its slashes are written."""
    return (plain(name) or "/") if is_folder(name) else name


def _stranger(model: str) -> Entry:
    """A model that no entry describes. Its name is made of its id, for a container to bear."""
    name = re.sub(r"[^a-z0-9._-]", "-", model.rpartition("/")[2].lower()).strip("._-") or "model"
    return {
        "name": name,
        "id": model,
        "described": False,
        "folder": model if is_folder(model) else None,
        **dict.fromkeys(field for field in MODEL_FIELDS if field != "id"),
        "gated": False,
        "environment": {},
        "args": {},
    }


def _known_instead(ref: str, images: Entries, model: Entry | None) -> str:
    """What to write instead of a reference that is not known."""
    _registry, _repository, tag, digest = split_reference(ref)
    twin = mirrored(ref, images)
    if twin and tag:
        return f"for a mirror use {twin[0]} and set vllm_image_registry to {twin[1] or 'the host of the mirror'}"
    instead = nearest_good(ref, images, model)
    fix = f"use {instead or 'another image'}"
    if server := other_server(ref):
        return f"its path names {server}, and this collection serves vLLM; {fix}, or set vllm_image_allow: [unknown]"
    if digest and not tag and instead:
        fix = f"write its tag before the @, as in {instead}@{digest[:12]}..."
    return f"{fix}, or add it to vllm_images, or set vllm_image_allow: [unknown]"
