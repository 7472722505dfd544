# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables choose from the catalog: the model, the image and the profile. Pure."""

from __future__ import annotations

import typing as t

from .._catalog.catalog import Catalog, CatalogError
from .._catalog.fields import Entry


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
    image = choose_image(values, catalog)
    return Choice(choose_model(values, catalog, image, model_info), image, choose_profile(values, catalog))


def choose_image(values: Values, catalog: Catalog, model: Entry | None = None) -> Entry:
    """The model is for the advice alone."""
    allow_unknown = "unknown" in (values["vllm_image_allow"] or [])
    try:
        return catalog.image(values["vllm_image"], values["vllm_images"], allow_unknown, model)
    except CatalogError as error:
        raise ChoiceError(f"vllm_image: {error}") from error


def choose_model(
    values: Values,
    catalog: Catalog,
    image: Entry | None = None,
    model_info: t.Mapping[str, t.Any] | None = None,
) -> Entry:
    try:
        entry = catalog.model(values["vllm_model"], values["vllm_models"], image)
    except CatalogError as error:
        raise ChoiceError(f"vllm_model: {error}") from error
    return complete(entry, model_info or {}, catalog, image)


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
