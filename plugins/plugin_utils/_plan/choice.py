# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables choose from the catalog: the model, the image and the profile. Pure."""

from __future__ import annotations

import typing as t

from .._catalog.catalog import Catalog, CatalogError
from .._catalog.fields import Entry
from .._catalog.images import RARE_FORMATS, nearest_good, not_read
from .._common.text import show


class Values(t.Protocol):
    """Variables by name, with the types of the argument specification; the default where nothing was set."""

    def __getitem__(self, name: str) -> t.Any: ...


class ChoiceError(ValueError):
    """One line: the variable, and why nothing can be chosen with its value."""


class Choice(t.NamedTuple):
    """None is what could not be chosen: the validation judges the rest all the same."""

    model: Entry | None  # with what the image adds to it
    image: Entry | None
    profile: Entry | None


def choose(values: Values, catalog: Catalog, model_info: t.Mapping[str, t.Any] | None = None) -> Choice:
    """All three, or a ChoiceError. MODEL_INFO says what the model's own files say, for one that no entry describes."""
    named = choose_model(values, catalog)
    # by what is known before the host is read: the release is named after its image
    image = choose_image(values, catalog, named)
    model = complete(named, model_info or {}, catalog)
    return Choice(catalog.on(model, image), image, choose_profile(values, catalog))


def image_name(values: Values, catalog: Catalog, model: Entry | None) -> str:
    """vllm_image; where it is empty the image follows the model."""
    return values["vllm_image"] or catalog.image_for(_as_read(values, model), values["vllm_images"])


def _as_read(values: Values, model: Entry | None) -> Entry | None:
    """The model in the format that the user's options ask for, which the image has to read."""
    asked = [values["vllm_extra_args"].get(name) for name in ("quantization", "load_format")]
    wanted = next((word.lower() for word in asked if isinstance(word, str) and word.lower() in RARE_FORMATS), None)
    return {**model, "quantization": wanted} if model and wanted else model


def choose_image(values: Values, catalog: Catalog, model: Entry | None) -> Entry:
    allow_unknown = "unknown" in (values["vllm_image_allow"] or [])
    try:
        return catalog.image(image_name(values, catalog, model), values["vllm_images"], allow_unknown, model)
    except CatalogError as error:
        raise ChoiceError(f"vllm_image: {error}") from error


def image_refusal(values: Values, catalog: Catalog, choice: Choice) -> str:
    """One line: why the image cannot run the model, and what to take instead; empty if it can, or is allowed to."""
    model, image = _as_read(values, choice.model), choice.image
    reason = (model or {}).get("image_cannot_run") or not_read((model or {}).get("quantization"), image or {})
    if not (model and image and reason) or "cannot_run" in (values["vllm_image_allow"] or []):
        return ""
    images, own = catalog.images(values["vllm_images"]), model.get("image")  # the one that its entry names
    is_better = own and own != image["ref"] and not not_read(model.get("quantization"), images.get(own) or {})
    instead = own if is_better else nearest_good(image["ref"], images, model)
    return (
        f"vllm_image: {show(image['ref'])} cannot run {model['name']}, {reason};"
        f" use {instead or 'another image'}, or set vllm_image_allow: [cannot_run]"
    )


def choose_model(values: Values, catalog: Catalog) -> Entry:
    try:
        return catalog.model(values["vllm_model"], values["vllm_models"])
    except CatalogError as error:
        raise ChoiceError(f"vllm_model: {error}") from error


def choose_profile(values: Values, catalog: Catalog) -> Entry:
    try:
        return catalog.profile(values["vllm_profile"], values["vllm_profiles"])
    except CatalogError as error:
        raise ChoiceError(f"vllm_profile: {error}") from error


def complete(entry: Entry, model_info: t.Mapping[str, t.Any], catalog: Catalog, image: Entry | None = None) -> Entry:
    """An entry that nobody has described, with what the files of that very model say."""
    if entry["described"] or model_info.get("id") != entry["id"]:
        return entry
    # its config.json counts more than its name
    named, guessed = set(model_info.get("architectures") or []), set(entry.get("architectures") or [])
    least = entry.get("min_vllm") if not named or named & guessed else None
    return catalog.on({**entry, "min_vllm": least, **model_info}, image)
