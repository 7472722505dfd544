# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service against what its image says of itself (module vllm_image_probe), which counts more than the matrix. Pure.

What the image did not say refuses nothing: the matrix decides, as without a probe.
"""

from __future__ import annotations

import re
import typing as t

from .._catalog.catalog import Catalog
from .._catalog.fields import Entry
from .._catalog.images import Architectures, can_run, nearest_good, unable
from .._catalog.vllm_options import Options
from .._common.text import nearest, show
from .choice import Choice, Values
from .settings import Settings

Probed = t.Mapping[str, t.Any]

# vLLM runs a model as another kind than its own, such as a reranker from a generating one: the name changes from the
# first to any other of these (vllm/config/model.py, _SUFFIX_TO_DEFAULTS in 0.31).
_KINDS = re.compile(
    r"(ForCausalLM|ForConditionalGeneration|ChatModel|LMHeadModel|ForTextEncoding|EmbeddingModel"
    r"|For(Sequence|Token|Audio|Image|Video)Classification|ClassificationModel|ForRewardModeling|RewardModel|Model)$"
)
# With these, a model runs by other code than its architecture says.
_OTHER_CODE = ("trust_remote_code", "hf_overrides", "model_impl")


def answer_for(image_ref: str, probed: Probed) -> Probed:
    """What was read of the image with this reference; empty if it was not asked. PROBED may be of another service."""
    return probed if (probed.get("image") or {}).get("name") == image_ref else {}


def image_refusal(values: Values, catalog: Catalog, choice: Choice, settings: Settings, probed: Probed) -> str | None:
    """One line: why the image cannot run the model, with one that can; empty if it can; None: the image did not say."""
    model, image, _profile = choice
    answer = probed.get("probe") or {}
    own, named = answer.get("architectures"), (model or {}).get("architectures") or []
    if not (model and image and own and named):
        return None
    if "cannot_run" in (values["vllm_image_allow"] or []):
        return ""
    if unable(model, {"cannot_run": image.get("cannot_run")}):  # a fault that the image does not know of itself
        return None
    if any(_runs(name, own) for name in named):
        return ""
    known = catalog.architectures()
    is_recorded = any(_is_recorded(name, known) for name in named)
    by_transformers = set(named) & set(answer.get("transformers_architectures") or [])
    if any(settings.args.get(name) for name in _OTHER_CODE) or (by_transformers and not is_recorded):
        return None
    others = {
        ref: entry
        for ref, entry in catalog.images(values["vllm_images"]).items()
        if ref != image["key"] and is_recorded and can_run(entry, named, known) is None
    }
    instead = nearest_good(image["ref"], others, model)
    use = f"use {instead}" if instead else "no image of the matrix is known to have it: use another model"
    return (
        f"vllm_image: {show(image['ref'])} cannot run {model['name']}, its vLLM {answer.get('vllm') or ''} has no"
        f" {' or '.join(named)} (it was asked itself); {use}, or set vllm_image_allow: [cannot_run]"
    )


def _runs(name: str, own: t.Collection[str]) -> bool:
    if name in own:
        return True
    stem = _KINDS.sub("", name)
    return stem != name and any(_KINDS.sub("", other) == stem for other in own)


def _is_recorded(name: str, known: Architectures) -> bool:
    """Whether any recorded version of vLLM has this architecture; one of none may run by transformers."""
    return known.knows(name, "0") is not None


def problems(settings: Settings, image: Entry, probed: Probed) -> list[str]:
    """Options that the image's own `vllm serve` does not take, and parsers that it does not have. One line each."""
    answer = probed.get("probe") or {}
    lines = [*_options(settings, answer), *_parsers(settings, answer)]
    return [f"{line} (its image {image['ref']} was asked)" for line in lines]


def _options(settings: Settings, answer: Probed) -> t.Iterator[str]:
    if not answer.get("options"):
        return
    known = Options([answer.get("vllm") or "of the image"], [answer["options"]])
    for item in _given(settings):
        wrong = known.problem(item["name"], None, nearest)
        if wrong:
            yield f"{item['at']}: {wrong}"


def _parsers(settings: Settings, answer: Probed) -> t.Iterator[str]:
    args = settings.args
    for option, plugin, field, what, is_used in (
        ("tool_call_parser", "tool_parser_plugin", "tool_parsers", "tool calls", args.get("enable_auto_tool_choice")),
        ("reasoning_parser", "reasoning_parser_plugin", "reasoning_parsers", "reasoning", True),
    ):
        names, value = answer.get(field), args.get(option)
        if not (names and value and is_used) or args.get(plugin) or value in names:
            continue
        (at,) = (item["at"] for item in _given(settings) if item["name"] == option)
        near = nearest(str(value), names)
        fix = f"did you mean {near}? " if near else ""
        yield (
            f"{at}: {show(value)} is no parser of {what} in vLLM {answer.get('vllm') or 'of the image'};"
            f" {fix}known: {', '.join(names)}"
        )


def _given(settings: Settings) -> list[dict[str, t.Any]]:
    return [item for item in settings.explained if item["kind"] == "args" and item["value"] is not None]


def ray_problems(image: Entry, probed: Probed) -> list[str]:
    """An image that serves a model on several hosts by Ray, and says that it has none."""
    answer = probed.get("probe") or {}
    if not answer or answer.get("ray") or "ray" in (answer.get("errors") or {}):
        return []
    return [
        f"vllm_image: {show(image['ref'])} cannot serve a model on several hosts: it has no Ray (it was asked itself);"
        " use an image whose vLLM has the option nnodes"
    ]


def prefix_problems(image: Entry, probed: Probed) -> list[str]:
    """An image that starts `vllm serve` by itself would get these words as its model, and the other way round."""
    inspected = probed.get("image")
    if not inspected:
        return []
    entrypoint, prefix = list(inspected["entrypoint"]), list(image["command_prefix"])
    at = f"vllm_images[{image['key']}].command_prefix"
    if entrypoint[-2:] == ["vllm", "serve"] and prefix[-2:] == ["vllm", "serve"]:
        return [
            f"{at}: [vllm, serve] is not allowed; the entry point of the image is `vllm serve` already: set it to []"
        ]
    if not entrypoint and not prefix:
        return [f"{at}: [] is not allowed; the image has no entry point: set it to [vllm, serve]"]
    return []
