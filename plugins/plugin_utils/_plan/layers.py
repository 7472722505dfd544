# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one statement of what wins over what. Pure.

profile < model < image < variables with a name of their own < what an offline start needs < vllm_extra_args and
vllm_extra_env < what vllm_auto_remedy has found < the host, which caps the share of the memory < what vllm_api_key and
vllm_nodes need. A later layer wins, option by option.
"""

from __future__ import annotations

import posixpath
import typing as t

from . import nodes as together
from .choice import Choice, Values
from .repositories import reads_more, repositories
from .settings import Layer, Settings, merged
from .share import Share

# The guide's path. HF_HUB_CACHE points at it, so that one tree holds everything.
CONTAINER_CACHE = "/root/.cache/huggingface"
# The folder in the container with the code of this collection, and what of it vLLM loads if there is a key.
CONTAINER_CODE = "/opt/dgxspark"
REQUIRE_KEY = "dgxspark_require_key"
# Where transformers writes the code of a model (trust_remote_code), while the models are read-only.
MODULES = "/root/.cache/huggingface-modules"


def layers(
    values: Values,
    choice: Choice,
    share: Share | None = None,
    remedy: t.Mapping[str, t.Any] | None = None,
    nodes: together.Nodes | None = None,
    host: together.HostState | None = None,
) -> list[Layer]:
    """Where options and environment come from, the weakest first.

    SHARE is None as long as nobody asks what the host can give. REMEDY holds variables of the role by name. NODES is
    None as long as nobody has asked the inventory.
    """
    nodes = together.by_name(values) if nodes is None else nodes
    below = [*_catalog(values, choice), *_named(values), together.environment(values, nodes, host or {})]
    above = [
        Layer("vllm_extra_args", args=values["vllm_extra_args"], args_at="vllm_extra_args."),
        Layer("vllm_extra_env", environment=values["vllm_extra_env"], environment_at="vllm_extra_env."),
        _remedy(remedy or {}),
        *_capped(share),
    ]
    offline = _is_offline(values, choice, merged([*below, *above]).args)
    sources = [*below, *_offline(values, choice, offline), *above]
    settings = merged(sources)
    return [*sources, *_key(values, settings), *together.options(values, nodes, settings.args)]


def _remedy(remedy: t.Mapping[str, t.Any]) -> Layer:
    """Of the two variables that are mappings, single options and environment variables; any other is an option."""
    mappings = ("vllm_extra_args", "vllm_extra_env")
    args = {name.removeprefix("vllm_"): value for name, value in remedy.items() if name not in mappings}
    extra_args, environment = (remedy.get(name) or {} for name in mappings)
    return Layer("vllm_auto_remedy", args={**args, **extra_args}, environment=environment)


def _is_offline(values: Values, choice: Choice, args: t.Mapping[str, t.Any]) -> bool:
    """Whether the server never asks the hub: on request, or because all that it reads is there before it starts."""
    if values["vllm_hf_offline"]:
        return True
    if reads_more(args):
        return False
    if choice.model and not repositories(choice.model, args):  # a model in a folder of the host
        return True
    # weights in Mistral's own form are not what the download brings
    return bool(values["vllm_download"] and args.get("load_format") != "mistral")


def _catalog(values: Values, choice: Choice) -> t.Iterator[Layer]:
    model, image, profile = choice
    yield Layer(
        "the collection",
        environment={"HF_HUB_CACHE": CONTAINER_CACHE, "TRITON_CACHE_DIR": "/root/.cache/triton"},
    )
    if profile:
        name = values["vllm_profile"]
        yield Layer(f"profile {name}", args=profile["args"], args_at=f"vllm_profiles.{name}.args.")
    if model:
        where = f"vllm_models.{model['name']}"
        yield Layer(
            f"model {model['name']}",
            args=model["args"],
            environment=model["environment"],
            args_at=f"{where}.args.",
            environment_at=f"{where}.environment.",
        )
    if model and image:
        # first what the image needs with every model, then what this model needs with it
        added = (
            (f"vllm_images[{image['ref']}]", image["args"], image["environment"]),
            (
                f"{where}.per_image",
                _beyond(image["args"], model["image_args"]),
                _beyond(image["environment"], model["image_environment"]),
            ),
        )
        for path, args, environment in added:
            yield Layer(
                f"image {image['ref']}",
                args=args,
                environment=environment,
                notes=model["image_notes"],
                args_at=f"{path}.args.",
                environment_at=f"{path}.environment.",
            )


def _beyond(own: t.Mapping[str, t.Any], together: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in together.items() if name not in own or own[name] != value}


def _capped(share: Share | None) -> t.Iterator[Layer]:
    if share and share.is_capped:
        yield Layer(
            "this host",
            args={"gpu_memory_utilization": share.utilization},
            notes={"gpu_memory_utilization": share.capped_by},
        )


def _named(values: Values) -> t.Iterator[Layer]:
    wish = values["vllm_gpu_memory_utilization"]
    yield Layer("vllm_gpu_memory_utilization", args={"gpu_memory_utilization": float(wish)} if wish else {})
    length = values["vllm_max_model_len"]
    yield Layer("vllm_max_model_len", args={"max_model_len": length} if length else {})
    # torch asks for the name of the user, whom the image need not know
    known = {"HOME": "/root", "USER": "vllm", "LOGNAME": "vllm"}
    yield Layer("vllm_container_user", environment=known if values["vllm_container_user"] else {})
    endpoint = values["vllm_hf_endpoint"]
    yield Layer("vllm_hf_endpoint", environment={"HF_ENDPOINT": endpoint} if endpoint else {})


def _key(values: Values, settings: Settings) -> t.Iterator[Layer]:
    """vLLM asks for its key on some paths only: a middleware of ours asks on all.

    It joins those of the user, as the last one: the last is asked first.
    """
    if not values["vllm_api_key"]:
        return
    others, path = settings.args.get("middleware") or [], settings.environment.get("PYTHONPATH")
    listed = others if isinstance(others, list) else [others]
    yield Layer(
        "vllm_api_key",
        args={"middleware": [*listed, f"{REQUIRE_KEY}.RequireKey"]},
        environment={"PYTHONPATH": f"{CONTAINER_CODE}:{path}" if path else CONTAINER_CODE},
        notes={"middleware": "asks for the key on every path"},
    )


def _offline(values: Values, choice: Choice, offline: bool) -> t.Iterator[Layer]:
    """The model is complete before the server starts: no start may need the hub. Of others nothing is downloaded."""
    if not choice.model:
        return
    source = "vllm_hf_offline" if values["vllm_hf_offline"] else "vllm_download"
    name, why = choice.model["id"], "offline, vLLM would call the model by its folder"
    if choice.model["folder"]:
        source = "vllm_model"
        name, why = posixpath.basename(choice.model["folder"]), "the name of its folder"
    if offline or choice.model["folder"]:
        yield Layer(
            source,
            args={"served_model_name": name},
            environment={"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": MODULES} if offline else {},
            notes={"served_model_name": why},
        )
