# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the role vllm for model, profile and image, and for the options of vLLM that they make together."""

from __future__ import annotations

import re
import typing as t

from .._catalog.catalog import Catalog
from .._catalog.fields import Entry, image_problems, model_problems, profile_problems
from .._catalog.images import find, is_upstream
from .._catalog.option_values import fits, missing_drafts, no_method, takes_any_context, wrong_value
from .._catalog.option_words import written
from .._catalog.specs import options_of
from .._catalog.vllm_options import misspelled, name_and_value, tokens_of, version_key
from .._common.text import nearest, show
from .._common.types import TypedValues, number
from .._plan.choice import Choice, ChoiceError, choose_model, choose_profile
from .._plan.layers import layers
from .._plan.nodes import PARALLEL
from .._plan.offloading import wrong_size
from .._plan.resolve import resolve
from .._plan.settings import Layer
from .._plan.settings import merged as merge_layers
from .._plan.share import LARGEST
from .common import Lines, at_least, control_character, holds_secret
from .environment import environment
from .image import image as check_image
from .image import notices as image_notices
from .nodes import OWNED, nodes
from .token import notices as token_notices
from .unread import notices as unread_notices

# Options of `vllm serve` that belong to a variable of the role.
_OWN_VARIABLE = {
    "model": "vllm_model",
    "model_tag": "vllm_model",
    "host": "vllm_publish_address",
    "port": "vllm_port",
    "uds": "vllm_port",
    "api_key": "vllm_api_key",
    "hf_token": "vllm_hf_token",
    "gpu_memory_utilization": "vllm_gpu_memory_utilization",
    "device_memory_utilization": "vllm_gpu_memory_utilization",
    "max_model_len": "vllm_max_model_len",
    "download_dir": "hf_cache_path",
}
# Options that spread one server over several GPUs or hosts.
_PARALLEL = frozenset(
    [
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "data_parallel_size_local"),
        *("prefill_context_parallel_size", "decode_context_parallel_size", "nnodes"),
    ]
)
# What a profile is made for, and what a model or an image may need.
_MAY_SET: dict[str, tuple[str, ...]] = {
    "vllm_profiles.": ("gpu_memory_utilization", "max_model_len"),
    "vllm_models.": ("max_model_len",),
    "vllm_images[": ("max_model_len",),
}
# Options that name, count or choose something, or take JSON. Of the others the empty text may be a value: no domain.
_NEVER_EMPTY = re.compile(
    r"(^|_)(dtype|backend|size|len|seqs|tokens|bytes|gb|config|format|mode|name|revision|tokenizer|quantization"
    r"|parser|seed|port|utilization|blocks|layers|template|type|kwargs|args|mm_per_prompt|cls|device|method)$"
)
_NO_HTTP = "would leave no HTTP server that the role can prove; remove it"
_UNUSABLE = {
    "headless": _NO_HTTP,
    "grpc": _NO_HTTP,
    "ssl_keyfile": "would end plain HTTP, which the role's proof uses; remove it, and end TLS in a proxy",
    "config": "would bring options of a file that is neither checked nor planned; write them here instead",
    "ssl_certfile": "would end plain HTTP, which the role's proof uses; remove it, and end TLS in a proxy",
}


def choice(checked: TypedValues, catalog: Catalog) -> Lines:
    """Model, profile, image, and the options that they make together."""
    own_models = checked["vllm_models"] if checked.valid("vllm_models") else {}
    own_profiles = checked["vllm_profiles"] if checked.valid("vllm_profiles") else {}
    own_images = checked["vllm_images"] if checked.valid("vllm_images") else {}
    broken = [
        *(line for name, entry in catalog.models(own_models).items() for line in model_problems(name, entry)),
        *(line for name, entry in catalog.profiles(own_profiles).items() for line in profile_problems(name, entry)),
        *(line for ref, entry in catalog.images(own_images).items() for line in image_problems(ref, entry)),
    ]
    yield from broken
    if broken:
        return

    model: Entry | None = None
    profile: Entry | None = None
    if checked.valid("vllm_model", "vllm_models"):
        try:
            model = choose_model(checked, catalog)
        except ChoiceError as error:
            yield str(error)
    if checked.valid("vllm_profile", "vllm_profiles"):
        try:
            profile = choose_profile(checked, catalog)
        except ChoiceError as error:
            yield str(error)
    lines, image = check_image(checked, catalog, own_images, model)
    yield from lines
    if model and image:
        model = catalog.on(model, image)
    chosen = Choice(model, image, profile)
    sources = layers(checked, chosen)
    if model and image:
        for source in sources:
            if source.environment_at and source.source != "vllm_extra_env":  # which has its own check
                where = source.environment_at.removesuffix(".")
                yield from environment(where, source.environment, checked.secrets())
    yield from _options(checked, catalog, sources, image)
    yield from _sizes(checked, chosen, sources)
    can_merge = checked.valid("vllm_extra_args", "vllm_extra_env")
    yield from nodes(checked, catalog, model, image, merge_layers(sources) if can_merge else None)


def _options(checked: TypedValues, catalog: Catalog, sources: t.Sequence[Layer], image: Entry | None) -> Lines:
    """Every option is known to the image's vLLM, spelled right, and has no variable of its own."""
    known = catalog.options(image["vllm"], image.get("options") or ()) if image else catalog.options(None)
    of_image = ""
    if image and image["key"] not in catalog.images():
        of_image = f" (or name it in vllm_images[{show(image['ref'])}].options, if the image's own vLLM has it)"
    own = checked["vllm_images"] if checked.valid("vllm_images") else {}
    is_own = bool(image and of_image and (image["key"] in own or not is_upstream(image["ref"])))
    secrets = checked.secrets()
    together = checked.valid("vllm_nodes") and bool(checked["vllm_nodes"])
    for source in sources:
        if not source.args_at or (source.source == "vllm_extra_args" and not checked.valid("vllm_extra_args")):
            continue
        may_set = next((names for start, names in _MAY_SET.items() if source.args_at.startswith(start)), ())
        for name, value in source.args.items():
            at = source.at("args", name)
            spelling = misspelled(name, value)
            bare = (name_and_value(name) or [name])[0]
            plain = re.sub(r"[\s-]+", "_", str(bare).strip("- ")).lower()
            if plain in _OWN_VARIABLE and plain not in may_set:  # without the value, which may be a key
                yield f"{source.at('args', bare)}: is not allowed here; set {_OWN_VARIABLE[plain]} instead"
            elif spelling:
                yield f"{at}: is not the name of an option; {spelling}"
            elif name in _UNUSABLE and value not in (None, False):
                yield f"{at}: is not allowed; it {_UNUSABLE[name]}"
            elif together and name in OWNED and value is not None:
                yield f"{at}: is not allowed with vllm_nodes, which sets it; remove it"
            elif name in _PARALLEL and (tokens_of(value) or 1) > 1 and not (together and name in PARALLEL):
                yield (
                    f"{at}: {show(value)} is not allowed; a Spark has one GPU: remove it, or name the hosts that serve"
                    " the model together in vllm_nodes"
                )
            elif holds_secret(value, secrets):
                yield f"{at}: holds a secret that every user of the host could read; use vllm_hf_token or vllm_api_key"
            elif control := control_character(value):
                yield f"{at}: holds the control character {control}; remove it"
            elif (wrong := known.problem(name, value, nearest)) is not None:
                shown = f"{show(value)} " if wrong.startswith("takes no value") else ""
                yield f"{at}: {shown}{wrong}{of_image if name not in known.by_name and not written(name) else ''}"
            elif (isinstance(value, (list, dict)) and not value) or (value == "" and _NEVER_EMPTY.search(name)):
                yield f"{at}: is empty; use null to drop the option"
            elif wrong := wrong_value(name, value) or ("" if is_own else no_method(name, value)):
                yield f"{at}: {wrong}"


def _sizes(checked: TypedValues, chosen: Choice, sources: t.Sequence[Layer]) -> Lines:
    """The numbers that depend on one another, after merging."""
    yield from at_least(checked, "vllm_max_model_len", 1, "token")
    yield from _utilization("vllm_gpu_memory_utilization", checked["vllm_gpu_memory_utilization"])
    model, image, profile = chosen
    if not (profile and model and checked.valid("vllm_extra_args", "vllm_max_model_len")):
        return
    in_profile = f"vllm_profiles.{checked['vllm_profile']}.args"
    settings = merge_layers(sources)
    for item in settings.explained:
        if wrong := wrong_size(item["name"], item["value"]):
            yield f"{item['at']}: {wrong}"
    merged = {item["name"]: (item["at"], item["value"]) for item in settings.explained if item["kind"] == "args"}
    if missing := missing_drafts(settings.args):
        said = [merged[name] for name in ("speculative_config", "spec_method") if name in merged]
        yield f"{[where for where, value in said if value is not None][0]}: {missing}"
    sizes: dict[str, int] = {}
    for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens"):
        size = tokens_of(merged.get(name, ("", None))[1])
        if size is not None and size > 0 and not wrong_value(name, size):  # which has its own line
            sizes[name] = size
    where, length = merged.get("max_model_len", ("", None))
    if fits(length) and where != "vllm_max_model_len":
        yield f"{where}: {show(length)} is not allowed; use a whole number above 0"
    if checked.valid("vllm_gpu_memory_utilization") and not checked.is_set("vllm_gpu_memory_utilization"):
        where, value = merged.get("gpu_memory_utilization", (f"{in_profile}.gpu_memory_utilization", None))
        if value is None:
            yield f"{where}: is missing; use a share of the memory such as 0.80, or set vllm_gpu_memory_utilization"
        yield from _utilization(where, value)

    seqs, batched, length = (sizes.get(name) for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len"))
    if seqs and batched and batched < seqs:
        yield (
            f"{merged['max_num_batched_tokens'][0]}: {batched} is less than max_num_seqs ({seqs});"
            f" use at least {seqs}, or lower max_num_seqs"
        )
    elif length and batched and batched < length and merged.get("enable_chunked_prefill", ("", None))[1] is False:
        yield (
            f"{merged['max_num_batched_tokens'][0]}: {batched} is less than the context of {length} tokens, and chunked"
            f" prefill is off; use at least {length}, or drop enable_chunked_prefill: false"
        )
    if length and not takes_any_context(settings.environment):
        yield from _context(settings.args, model, image, length, merged["max_model_len"][0])


def _utilization(name: str, value: t.Any) -> Lines:
    if value is None:
        return
    try:
        share = number(value)
    except ValueError:
        if name.startswith("vllm_profiles"):  # the variable itself has been checked for its type
            yield f"{name}: {show(value)} is not allowed; use a share of the memory such as 0.90"
        return
    if not 0 < share <= LARGEST:
        yield f"{name}: {show(value)} is not allowed; use a share of the memory above 0 and at most {LARGEST}"


def _context(args: t.Mapping[str, t.Any], model: Entry, image: Entry | None, length: int, origin: str) -> Lines:
    stretched = bool(args.get("rope_scaling")) or "rope" in str(args.get("hf_overrides"))
    limit = model["config_context"]
    if stretched:
        limit = model.get("extended_context") or length
    if limit is None or length <= limit:  # a model that nobody has described is planned when its files were read
        return
    longest = model.get("extended_context")
    fix = f"use at most {limit}"
    if longest and not stretched and model.get("yarn") and length <= longest:
        version = image["vllm"] if image else None
        fix += f", or stretch it to {longest} with vllm_extra_args: {_yarn(model['yarn'], version)}"
    if not origin.startswith("vllm_max_model_len"):
        fix += ", in vllm_max_model_len"
    yield f"{origin}: {length} is over the {limit} tokens of {model['name']}; {fix}"


def _yarn(yarn: t.Mapping[str, t.Any], version: str | None) -> str:
    """An override of the model's config; from 0.12 under another name.

    The option of its own was deprecated for a year and is gone (S: vllm-project/vllm pull request 28006).
    From 0.12 the override says the new length, too: 0.32 (S: pull request 56446) does not multiply it any more.
    """
    factor = f"factor: {yarn['factor']}, original_max_position_embeddings: {yarn['original_max_position_embeddings']}"
    if version is not None and version_key(version) < version_key("0.12"):
        return f"{{hf_overrides: {{rope_scaling: {{rope_type: yarn, {factor}}}}}}}"
    theta = yarn.get("rope_theta", "THAT OF ITS config.json")
    length = int(yarn["factor"] * yarn["original_max_position_embeddings"])
    parameters = f"rope_parameters: {{rope_type: yarn, rope_theta: {theta}, {factor}}}"
    return f"{{hf_overrides: {{max_position_embeddings: {length}, {parameters}}}}}"


def notices(role: str, values: t.Mapping[str, t.Any], catalog: Catalog) -> list[str]:
    """What is allowed, but worth a warning. Only for values that have no problem."""
    if role != "vllm":
        return []
    known = options_of(role)
    checked, _lines = TypedValues.of(known, values)
    service = resolve(checked, catalog)
    ref = service.image["ref"]
    is_known = find(ref, catalog.images(checked["vllm_images"])) is not None
    # what a fault of the image may depend on
    settings = {
        **{name: checked[name] for name in known},
        **service.args,
        **service.environment,
        "model_quantization": service.entry.get("quantization"),
    }
    return [
        *image_notices(ref, service.image, service.entry, is_known, settings),
        *token_notices(checked, service.entry),
        *unread_notices(checked["vllm_extra_env"], service.image.get("vllm"), bool(checked["vllm_entrypoint"])),
    ]
