# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for hosts that serve one model together: those of one host, and what must be the same on all of them. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in

from .._catalog.catalog import Catalog
from .._catalog.fields import Entry
from .._catalog.images import nearest_good
from .._catalog.vllm_options import tokens_of, version_key
from .._common.addresses import is_reachable
from .._common.text import show
from .._common.types import TypedValues
from .._plan import ray, stages
from .._plan.choice import Values
from .._plan.nodes import (
    CACHE,
    GID_INDEX,
    NCCL_HOLDS,
    PARALLEL,
    TUNED,
    heads_problem,
    nccl_problem,
    parallel,
    tuned_folder,
)
from .._plan.settings import Settings
from .common import Lines
from .environment import is_secret

# Options that vllm_nodes sets. What spans one host only is refused for all.
OWNED = ("nnodes", "node_rank", "master_addr", "master_port", "distributed_executor_backend")
# One desired state for all ranks: vLLM hangs, or answers nonsense, where they differ.
SAME = (
    *("vllm_service_name", "vllm_model", "vllm_models", "vllm_profile", "vllm_profiles", "vllm_image", "vllm_images"),
    *("vllm_image_registry", "vllm_port", "vllm_master_port", "vllm_max_model_len", "vllm_gpu_memory_utilization"),
    "vllm_extra_args",
)
# The role says it too, of a host that it cannot reach.
LOST = "if one is lost, take the others apart with -e '{\"vllm_nodes\": []}'"
# As above, and its value is never shown: Ray asks the other hosts for it.
KEY = "vllm_api_key"
# As above, each variable in it, but for those that name interfaces, devices or addresses of a host, and those that
# what the ranks compute does not depend on: proxies, logs and traces.
ENVIRONMENT = "vllm_extra_env"
OF_A_HOST = re.compile(
    r"\w*_IFNAME|\w*_?HOST_IP|NCCL_IB_HCA|NVSHMEM_HCA_LIST|UCX_NET_DEVICES|OMPI_MCA_btl_tcp_if_\w+|RAY_NODE_IP_ADDRESS"
    r"|NCCL_TOPO_FILE|NCCL_DEBUG_FILE|(?i:(?:https?|no|all)_proxy)|OTEL_\w+|VLLM_LOGGING_\w+"
)
READS = ("vllm_nodes", "vllm_node_address", KEY, ENVIRONMENT, *SAME)


def nodes(
    checked: TypedValues,
    catalog: Catalog,
    model: Entry | None,
    image: Entry | None,
    settings: Settings | None,
) -> Lines:
    """For one host. SETTINGS are the merged ones; None if they cannot be known."""
    if not checked.valid("vllm_nodes") or not checked["vllm_nodes"]:
        return
    names = checked["vllm_nodes"]
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names) or len(names) < 2:
        yield "vllm_nodes: is not allowed; use the names of two or more hosts, each once, or [] for a host alone"
        return
    if checked.valid("vllm_node_address") and not is_reachable(checked["vllm_node_address"]):
        yield (
            f"vllm_node_address: {show(checked['vllm_node_address'])} is not allowed with vllm_nodes; use the IPv4"
            " address of this host between them, such as 192.168.100.1"
        )
    if checked.valid("vllm_master_port"):
        port = checked["vllm_master_port"]
        if not 1024 <= port <= 65535:
            yield f"vllm_master_port: {show(port)} is not allowed; use a TCP port from 1024 to 65535"
        elif checked.valid("vllm_port") and port == checked["vllm_port"]:
            yield f"vllm_master_port: {port} is vllm_port, too; use another port"
    if settings is not None:
        yield from _sizes(len(names), settings, model)
        yield from _environment(settings)
    if image:
        environment = settings.environment if settings is not None else {}
        yield from _image(checked, catalog, model, image, environment)


def _sizes(number: int, settings: Settings, model: Entry | None) -> Lines:
    args = settings.args
    product = parallel(args)
    if product != number:
        sizes = " times ".join(f"{name} {tokens_of(args.get(name)) or 1}" for name in PARALLEL)
        yield (
            f"vllm_nodes: {number} hosts serve together, and {sizes} is {product}; make it {number}, or remove both"
            " options"
        )
    elif model and (wrong := heads_problem(model, args) or stages.problem(model, args, settings.environment)):
        yield wrong


def _environment(settings: Settings) -> Lines:
    """What no layer may set for hosts that serve together."""
    at = {each["name"]: each["at"] for each in settings.explained if each["kind"] == "environment"}
    if GID_INDEX in settings.environment:
        yield (
            f"{at[GID_INDEX]}: is not allowed with vllm_nodes, because the number of a GID changes with the addresses;"
            " remove it, NCCL finds it by itself"
        )
    name, folder = tuned_folder(settings.environment)
    if folder != f"{CACHE}/vllm/{TUNED}" and lies_in(folder, CACHE):
        yield (
            f"{at[name]}: is not allowed with vllm_nodes, because FlashInfer's tuning would be kept over restarts, and"
            " hosts that serve together hang with it; remove it"
        )


def _image(
    checked: TypedValues,
    catalog: Catalog,
    model: Entry | None,
    image: Entry,
    environment: t.Mapping[str, t.Any],
) -> Lines:
    ref = show(image["ref"])
    by_ray = not _spans_hosts(image, catalog)
    if by_ray and image["ray"] is False:
        yield (
            f"vllm_image: {ref} cannot serve a model on several hosts (its vLLM has no option nnodes, and it has no"
            f" Ray); use {_instead(checked, catalog, model, image)}"
        )
        return
    if by_ray and checked.valid("vllm_master_port"):
        yield from _ray_ports(checked)
    instead = _instead(checked, catalog, model, image)
    if wrong := nccl_problem(checked, image, image.get("nccl"), environment, instead):
        yield wrong


def _ray_ports(checked: TypedValues) -> Lines:
    first, last = ray.ports(checked["vllm_master_port"])
    if last > 65535:
        yield (
            f"vllm_master_port: {first} is not allowed with this image, whose Ray uses the ports up to {last};"
            f" use one up to {65535 - ray.LAST}"
        )
    elif checked.valid("vllm_port") and first < checked["vllm_port"] <= last:
        yield (
            f"vllm_master_port: {first} is not allowed with this image, whose Ray uses the ports up to {last}, and"
            f" vllm_port {checked['vllm_port']} is one of them; use another port"
        )


def _spans_hosts(image: Entry, catalog: Catalog) -> bool:
    return not ray.is_needed(image, catalog.options(image["vllm"], image.get("options") or ()).by_name)


def _instead(checked: TypedValues, catalog: Catalog, model: Entry | None, image: Entry) -> str:
    """The nearest image that is known to do it."""
    images = catalog.images(checked["vllm_images"])
    able = {ref: entry for ref, entry in images.items() if _is_known_to(catalog.image(ref, images), catalog)}
    return nearest_good(image["ref"], able, model) or "an image with a newer vLLM"


def _is_known_to(image: Entry, catalog: Catalog) -> bool:
    nccl = image.get("nccl")
    return _spans_hosts(image, catalog) and bool(nccl) and version_key(str(nccl)) >= version_key(NCCL_HOLDS)


class Member(t.NamedTuple):
    """A host with its variables, typed."""

    host: str
    values: Values  # by READS

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(map(str, self.values["vllm_nodes"]))


def groups(members: t.Mapping[str, Member], play: t.Collection[str], inventory: t.Container[str], whole: bool) -> Lines:
    """For all of them. MEMBERS are those of the play, those that they name, and those that may name them. WHOLE: what
    the play does to one host of a group it must do to all."""
    for names in dict.fromkeys(member.nodes for member in members.values() if member.nodes):
        naming = [host for host, member in members.items() if member.nodes == names]
        if set(play).isdisjoint([*names, *naming]) or len(set(names)) < len(names):  # which the host itself says
            continue
        lines = list(_composition(names, naming, members, inventory))
        if not lines:
            missing = [name for name in names if name not in play]
            if whole and missing:
                here = next((name for name in names if name in play), names[0])
                lines.append(
                    f"vllm_nodes: {here} serves together with {', '.join(missing)}; run it on all of them:"
                    f" -l {','.join(names)}; {LOST}"
                )
            lines += _differences([members[name] for name in names if name in members], play)
        yield from lines


def _composition(
    names: t.Sequence[str], naming: t.Sequence[str], members: t.Mapping[str, Member], inventory: t.Container[str]
) -> Lines:
    listed = ", ".join(names)
    for name in naming:
        if name not in names:
            yield f"vllm_nodes: [{listed}] of {name} does not name {name}; add it, or set [] for it"
    for name in names:
        if name not in inventory:
            yield f"vllm_nodes: {show(name)} of [{listed}] is not in the inventory; correct the name"
        elif name in members and members[name].nodes != tuple(names):
            others = ", ".join(members[name].nodes)
            yield (
                f"vllm_nodes: {name} serves in [{listed}] of {naming[0]}, and its own value is [{others}]; a host"
                " serves in one group: set the same list on all of its hosts"
            )


def _differences(group: t.Sequence[Member], play: t.Collection[str]) -> Lines:
    head = group[0]
    taken: dict[str, str] = {}
    for member in group:
        address = str(member.values["vllm_node_address"])
        if address in taken:
            yield (
                f"vllm_node_address: {show(address)} is that of {taken[address]} and of {member.host}; give each host"
                " its own"
            )
        elif not address and member.host not in play:  # the others say it themselves
            yield f"vllm_node_address: of {member.host} is empty; set it to its address between the hosts of vllm_nodes"
        elif address:
            taken[address] = member.host
    for member in group[1:]:
        for name in (*SAME, KEY):
            own, other = member.values[name], head.values[name]
            if own != other:
                what = ("that", "that") if name == KEY else (show(own), show(other))
                shown = f"{what[0]} of {member.host} differs from {what[1]} of {head.host}"
                yield f"{name}: {shown}, and both serve one model together; set the same on all hosts of vllm_nodes"
        yield from _other_environment(member, head)


def _other_environment(member: Member, head: Member) -> Lines:
    own, other = member.values[ENVIRONMENT], head.values[ENVIRONMENT]
    secrets = [str(each.values[KEY]) for each in (member, head) if each.values[KEY]]
    for name in dict.fromkeys([*other, *own]):
        values = [environment.get(name) for environment in (own, other)]
        if str(values[0]) == str(values[1]) or OF_A_HOST.fullmatch(str(name)):
            continue
        hidden = any(is_secret(str(name), value, secrets) for value in values)
        texts = ["that" if hidden else "none" if value is None else show(value) for value in values]
        yield (
            f"{ENVIRONMENT}.{name}: {texts[0]} of {member.host} differs from {texts[1]} of {head.host}, and both serve"
            " one model together; set the same on all hosts of vllm_nodes"
        )
