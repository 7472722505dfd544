# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it may change at any time.
"""The catalog: models, images and profiles below roles/vllm/vars, with the user's own entries merged over them."""

from __future__ import annotations

import copy
import difflib
import json
import re
import typing as t
from functools import cache
from pathlib import Path

import yaml

from .images import UPSTREAM, find, mirrored, nearest_good, split_reference, unable
from .per_image import for_image, is_rule
from .vllm_options import Options, Recorded

_ROOT = Path(__file__).resolve().parents[3]
ROLES = _ROOT / "roles"
FOLDER = _ROOT / "catalog"
BANDWIDTH = 273e9  # bytes a second that a GB10 reads; no stream is faster than this over the bytes that a token needs

Entry = dict[str, t.Any]
Entries = dict[str, Entry]


class CatalogError(ValueError):
    """One line that says what is wrong with an entry, or that there is none."""


class Field(t.NamedTuple):
    kind: str
    required: bool = False


MODEL_FIELDS = {
    "id": Field("Hugging Face id", required=True),
    "revision": Field("revision"),
    "weights_bytes": Field("whole number", required=True),
    "layers": Field("whole number", required=True),
    "kv_heads": Field("whole number", required=True),
    "head_dim": Field("whole number", required=True),
    "native_context": Field("whole number", required=True),
    "config_context": Field("whole number"),
    "extended_context": Field("whole number"),
    "sliding_window": Field("whole number"),
    "full_attention_layers": Field("whole number"),
    "latent_dim": Field("whole number"),
    "state_layers": Field("whole number"),
    "state_bytes": Field("whole number"),
    "kv_cache_dtype": Field("cache type"),
    "yarn": Field("mapping"),
    "parameters": Field("text"),
    "active_bytes": Field("whole number"),
    "quantization": Field("text"),
    "min_vllm": Field("version"),
    "gated": Field("boolean"),
    "license": Field("text"),
    "environment": Field("mapping"),
    "args": Field("mapping"),
    "per_image": Field("list"),
    "reasoning_parser": Field("text"),
    "tool_call_parser": Field("text"),
    "tokens_per_second": Field("number"),
    "good_for": Field("text"),
    "avoid_for": Field("text"),
    "notes": Field("list of texts"),
    "sources": Field("mapping"),
}
IMAGE_FIELDS = {
    "vllm": Field("version"),
    "cuda": Field("version"),
    "min_driver": Field("version"),
    "digest": Field("digest"),
    "command_prefix": Field("list of texts"),
    "ray": Field("boolean"),
    "multi_node": Field("boolean"),
    "args": Field("mapping"),
    "environment": Field("mapping"),
    "status": Field("status"),
    "faults": Field("list of faults"),
    "cannot_run": Field("mapping"),
    "sources": Field("mapping"),
}
PROFILE_FIELDS = {"args": Field("mapping", required=True)}
STATUSES = ("good", "unknown", "avoid")

# What each kind asks for: the test, and how the message says it.
_KINDS: dict[str, tuple[t.Callable[[t.Any], bool], str]] = {
    "Hugging Face id": (
        lambda v: isinstance(v, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", v, re.ASCII) is not None,
        "a Hugging Face id such as Qwen/Qwen3-8B-FP8",
    ),
    "whole number": (lambda v: _is_int(v) and v > 0, "a whole number above 0"),
    "number": (lambda v: (_is_int(v) or isinstance(v, float)) and v > 0, "a number above 0"),
    "text": (lambda v: isinstance(v, str), "text"),
    "boolean": (lambda v: isinstance(v, bool), "true or false"),
    "mapping": (lambda v: isinstance(v, dict), "a mapping"),
    "revision": (
        lambda v: isinstance(v, str) and re.fullmatch(r"[\w.-][\w./-]*", v, re.ASCII) is not None,
        "a commit, tag or branch of the hub, in quotes",
    ),
    "digest": (
        lambda v: isinstance(v, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", v) is not None,
        "sha256: and 64 hexadecimal digits",
    ),
    "version": (
        lambda v: isinstance(v, str) and re.fullmatch(r"\d+(\.\d+)*\S*", v) is not None,
        'a version in quotes, such as "0.32.0"',
    ),
    "list of texts": (
        lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v),
        "a list of texts",
    ),
    "list": (lambda v: isinstance(v, list), "a list"),
    "cache type": (lambda v: v == "fp8", "fp8, or leave it out"),
    "status": (lambda v: v in STATUSES, "good, unknown or avoid"),
    "list of faults": (
        lambda v: (
            isinstance(v, list)
            and all(
                isinstance(item, dict)
                and "what" in item
                and set(item) <= {"what", "remedy", "fixed_in", "only_with"}
                and isinstance(item.get("only_with", {}), dict)
                for item in v
            )
        ),
        "a list of {what, remedy, fixed_in, only_with: a mapping}",
    ),
}


def _is_int(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def show(value: t.Any) -> str:
    """A value as it stands in a message: short, on one line."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:76] + '..."'


def nearest(name: str, known: t.Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def hint(name: str, known: t.Iterable[str]) -> str:
    """`; did you mean X?`, or what there is when nothing is near."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean {near}?" if near else f"known: {', '.join(names)}"


def known_or_add(name: str, known: t.Iterable[str], variable: str) -> str:
    names = list(known)
    near = nearest(name, names)
    return f"{f'did you mean {near}? ' if near else ''}known: {', '.join(names)}; or add it to {variable}"


def entry_problems(where: str, entry: t.Any, fields: t.Mapping[str, Field]) -> list[str]:
    """What is wrong with one entry, a line each."""
    if not isinstance(entry, dict):
        return [f"{where}: {show(entry)} is not allowed; use a mapping with {', '.join(_needed(fields))}"]
    lines = [f"{where}.{key}: unknown field; {hint(str(key), fields)}" for key in entry if key not in fields]
    for key, field in fields.items():
        value = entry.get(key)
        if value is None:
            if field.required:
                lines.append(f"{where}.{key}: is missing; use {_KINDS[field.kind][1]}")
        elif not _KINDS[field.kind][0](value):
            lines.append(f"{where}.{key}: {show(value)} is not allowed; use {_KINDS[field.kind][1]}")
    return lines


def _needed(fields: t.Mapping[str, Field]) -> list[str]:
    return [key for key, field in fields.items() if field.required] or list(fields)


def merge(below: t.Any, above: t.Any) -> t.Any:
    """Mappings are merged key by key, anything else is replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    return copy.deepcopy(above)


@cache
def _read(path: Path) -> t.Any:
    # libyaml is ten times faster; it is in every wheel of PyYAML, not in every build
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open("rb") as stream:
        return yaml.load(stream, Loader=loader)


def read_specs(role: str) -> dict[str, t.Any]:
    """The argument specification of one of the roles, by entry point."""
    return t.cast(dict[str, t.Any], _read(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"])


def role_names() -> list[str]:
    return sorted(path.parent.parent.name for path in ROLES.glob("*/meta/argument_specs.yml"))


class Catalog:
    """What this collection knows. Every method takes the user's own entries and never changes them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._recorded = Recorded(folder / "vllm_options", _read)

    def models(self, own: t.Mapping[str, t.Any] | None = None) -> Entries:
        """All models by name, ours first."""
        ours = {path.stem: _read(path) for path in sorted((self._folder / "models").glob("*.yml"))}
        return t.cast(Entries, merge(ours, dict(own or {})))

    def images(self, own: t.Mapping[str, t.Any] | None = None) -> Entries:
        return t.cast(Entries, merge(_read(self._folder / "images.yml"), dict(own or {})))

    def profiles(self, own: t.Mapping[str, t.Any] | None = None) -> Entries:
        return t.cast(Entries, merge(_read(self._folder / "profiles.yml"), dict(own or {})))

    def options(self, version: str | None) -> Options:
        return self._recorded.options(version)

    def model(self, name: str, own: t.Mapping[str, t.Any] | None = None, image: Entry | None = None) -> Entry:
        """One model by its name or its Hugging Face id, complete, with its name; and what it needs with an image.

        Of an id that nobody has described nothing else is known: see the module model_info.
        """
        models = self.models(own)
        if name not in models:
            same_id = [key for key, entry in models.items() if isinstance(entry, dict) and entry.get("id") == name]
            if not same_id and _KINDS["Hugging Face id"][0](name):
                stranger = _stranger(name)
                return _on(stranger, image)
            if not same_id:
                raise CatalogError(f"{show(name)} is not in the catalog; {known_or_add(name, models, 'vllm_models')}")
            if len(same_id) > 1:
                raise CatalogError(f"{show(name)} is the id of {' and '.join(same_id)}; use one of these names")
            name = same_id[0]
        lines = model_problems(name, models[name])
        if lines:
            raise CatalogError(lines[0])
        entry: Entry = {"name": name, "described": True, **copy.deepcopy(models[name])}
        entry.setdefault("config_context", entry["native_context"])
        for key, default in (("gated", False), ("environment", {}), ("args", {})):
            if entry.get(key) is None:
                entry[key] = default
        if entry.get("revision"):  # vLLM gets it as an option; the download looks there, too
            entry["args"] = {"revision": entry["revision"], **entry["args"]}
        if entry.get("active_bytes"):
            entry["roofline"] = round(BANDWIDTH / entry["active_bytes"], 1)
        return _on(entry, image)

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
        entry: Entry = {"ref": ref, "key": known or ref, **copy.deepcopy(found)}
        if entry.get("command_prefix") is None:
            entry["command_prefix"] = [] if repository == UPSTREAM else ["vllm", "serve"]
        defaults: Entry = {
            "vllm": None,
            "cuda": None,
            "min_driver": None,
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
        # a mirror keeps the path: MIRROR/nvidia/vllm:25.09-py3
        entry["registry"] = registry or "docker.io"
        entry["path"] = repository + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        return entry


def _on(model: Entry, image: Entry | None) -> Entry:
    """A model with what an image adds to it, and why the image cannot run it, if so."""
    if image is None:
        return model
    return {**model, **for_image(model, image), "image_cannot_run": unable(model, image)}


def _stranger(model: str) -> Entry:
    """A model that no entry describes. Its name is made of its id, for a container to bear."""
    name = re.sub(r"[^a-z0-9._-]", "-", model.rpartition("/")[2].lower()).strip("._-") or "model"
    return {
        "name": name,
        "id": model,
        "described": False,
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
    if digest and not tag and instead:
        fix = f"write its tag before the @, as in {instead}@{digest[:12]}..."
    return f"{fix}, or add it to vllm_images, or set vllm_image_allow: [unknown]"


def model_problems(name: str, entry: t.Any) -> list[str]:
    where = f"vllm_models.{name}"
    lines = entry_problems(where, entry, MODEL_FIELDS)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", str(name)):
        lines.insert(0, f"{where}: the name is not allowed; use lower case letters, digits, . _ and -")
    return lines or list(_contradictions(where, entry))


# Of a model, what cannot be more than what.
_AT_MOST = (
    ("native_context", "config_context"),
    ("full_attention_layers", "layers"),
)


def _contradictions(where: str, entry: Entry) -> t.Iterator[str]:
    for small, large in _AT_MOST:
        if entry.get(small) and entry.get(large) and entry[small] > entry[large]:
            yield f"{where}.{small}: {entry[small]} is more than {large} ({entry[large]}); use at most that"
    for number, rule in enumerate(entry.get("per_image") or []):
        if not is_rule(rule):
            yield (
                f"{where}.per_image[{number}]: {show(rule)} is not a rule; use image (a pattern) or vllm (a range such"
                ' as ">=0.19,<0.26") or both, with args or environment'
            )
    if entry.get("yarn") and not {"factor", "original_max_position_embeddings"} <= set(entry["yarn"]):
        yield f"{where}.yarn: is not complete; use factor and original_max_position_embeddings"


def image_problems(ref: str, entry: t.Any) -> list[str]:
    return entry_problems(f"vllm_images[{ref}]", entry, IMAGE_FIELDS)


def profile_problems(name: str, entry: t.Any) -> list[str]:
    return entry_problems(f"vllm_profiles.{name}", entry, PROFILE_FIELDS)
