# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role would start, for every model, profile and image that go together."""

from __future__ import annotations

import typing as t
from functools import cache

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import resolve

SPARK = {"memory": {"total_bytes": 130_663_448_576}}


class Planned(t.NamedTuple):
    model: str
    profile: str
    image: str
    vllm: str | None
    words: list[str]  # what follows `vllm serve`
    environment: dict[str, str]


@cache
def planned() -> list[Planned]:
    return list(plan({}))


def plan(variables: t.Mapping[str, t.Any]) -> t.Iterator[Planned]:
    """With variables of the user. If they hold models of his own, only those are planned."""
    catalog, known = Catalog(), options_of("vllm")
    models = catalog.models(variables.get("vllm_models"))
    for ref in catalog.images():
        image = catalog.image(ref)
        for model in variables.get("vllm_models", models):
            cannot = catalog.model(model, variables.get("vllm_models"), image)["image_cannot_run"]
            for profile in () if cannot else catalog.profiles():
                chosen = {"vllm_model": model, "vllm_profile": profile, "vllm_image": ref}
                values, wrong = TypedValues.of(known, {**variables, **chosen})
                assert wrong == []
                service = resolve(values, catalog, SPARK)
                prefix = image["command_prefix"]
                assert service.argv[: len(prefix)] == prefix
                yield Planned(
                    model, profile, ref, image["vllm"], service.argv[len(prefix) :], dict(service.environment)
                )
