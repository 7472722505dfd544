# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service, resolved: everything that follows from the role's variables and from a look at the host. Pure.

The role, its validation, playbooks/explain.yml, list_models.yml and health.yml all use this result.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._catalog.catalog import Catalog
from .._catalog.fields import Entry
from .._catalog.hosts import host_faults
from .._catalog.vllm_options import to_argv
from .._common.owner_files import OwnerFile
from . import exposure, names, nodes, probed, ray, share, stages
from .choice import Choice, Values, choose, image_refusal
from .layers import CONTAINER_CACHE, CONTAINER_CODE, REQUIRE_KEY, layers
from .memory import UTILIZATION, Host, PlanError
from .mounts import model_path, mounts, placed
from .remedies import plan_with_remedies
from .repositories import repositories
from .settings import Settings, merged
from .words import Plan

# The variables that the result depends on. No token: the result may be printed. Of the key only whether there is one.
READS = (
    *("vllm_model", "vllm_models", "vllm_profile", "vllm_profiles", "vllm_image", "vllm_images", "vllm_image_allow"),
    *("vllm_image_registry", "vllm_gpu_memory_utilization", "vllm_max_model_len", "vllm_extra_args", "vllm_extra_env"),
    *("vllm_api_key", "vllm_port", "vllm_publish_address", "vllm_service_name"),
    *("vllm_container_name", "vllm_home", "vllm_hf_endpoint", "vllm_hf_offline", "vllm_download", "vllm_gpu"),
    *("vllm_memory_reserve_gib", "vllm_drop_page_cache", "vllm_entrypoint", "vllm_mounts", "hf_cache_path"),
    *("vllm_nodes", "vllm_master_port", "vllm_container_user"),
)


if t.TYPE_CHECKING:
    from .swap import Member


class ResolveError(ValueError):
    """One line that says why the service cannot be resolved."""


class _WithCache:
    """The variables, with the folder of the models that the look at the host has found in the cache that they name."""

    def __init__(self, values: Values, host: share.HostState) -> None:
        seen = host.get("cache") or {}
        path = values["hf_cache_path"]
        self._values, self._folder = values, seen["folder"] if seen.get("path") == path else path

    def __getitem__(self, name: str) -> t.Any:
        return self._folder if name == "hf_cache_path" else self._values[name]


@dataclass(frozen=True)
class Resolved:
    """What the documentation of the lookup plugin service says of each field."""

    unit: str
    watchdog: str
    home: str
    container: str
    containers: list[dict[str, t.Any]]
    address: str
    url: str
    hf_cache: str
    container_cache: str
    compile_cache: str
    user: str
    require_key_file: str
    hf_cache_read_only: bool
    mounts: list[dict[str, t.Any]]
    files: list[dict[str, t.Any]]
    entry: Entry
    repositories: list[dict[str, t.Any]]
    image: Entry
    image_ref: str
    image_refusal: str
    probe_problems: list[str]
    profile: str
    args: dict[str, t.Any]
    environment: dict[str, t.Any]
    lines: list[str]
    entrypoint: list[str]
    argv: list[str]
    arguments: list[str]
    served_name: str
    gpu: str
    nodes: list[dict[str, str]]
    rank: int
    by_ray: bool
    devices: list[str]
    memory_bytes: int
    memory_gib: float
    other_services: list[dict[str, t.Any]]
    other_services_gib: float
    utilization: float
    utilization_wish: float
    utilization_cap: float
    capped_by: str
    capped_for: list[str]
    plan: Plan
    needed_bytes: int
    available_bytes: int
    own_services: list[dict[str, t.Any]]
    comes_free_bytes: int
    memory_is_taken: bool
    oversized: list[dict[str, t.Any]]
    container_release: str
    host_faults: list[dict[str, str]]
    budget: list[str]
    budget_problem: str
    copies: list[str]
    swap_others: list[dict[str, t.Any]]
    facts: dict[str, t.Any]

    def as_dict(self) -> dict[str, t.Any]:
        return dict(vars(self))


def resolve(
    values: Values,
    catalog: Catalog,
    host: share.HostState | None = None,
    remedy: t.Mapping[str, t.Any] | None = None,
    model_info: t.Mapping[str, t.Any] | None = None,
    files: t.Sequence[OwnerFile] = (),
    image_probe: t.Mapping[str, t.Any] | None = None,
    members: nodes.Nodes | None = None,
    budget: share.Budget = share.NO_BUDGET,
    swap_others: t.Sequence[Member] = (),
) -> Resolved:
    """HOST is what spark_info returns in spark; without it nothing is capped and nothing planned.

    REMEDY is what vllm_auto_remedy has found, variables by name. MODEL_INFO is an entry of the module model_info. FILES
    are those of vllm_files. IMAGE_PROBE is what the module vllm_image_probe returns; it changes nothing of the service,
    whose release has its name by then, and only says what the image would refuse. MEMBERS are the hosts of vllm_nodes
    with their addresses; without them only their number counts. BUDGET is that of the other services of vllm_services.
    SWAP_OTHERS are those of them that take turns with this one.
    """
    host = host or {}
    values = _WithCache(values, host)
    together = nodes.by_name(values) if members is None else members
    if wrong := nodes.problem(together, host):
        raise ResolveError(wrong)
    choice = choose(values, catalog, model_info)
    model, image, profile = choice
    if not (model and image and profile):
        raise AssertionError("choose() returns all three parts, or raises")
    options = catalog.options(image["vllm"], image.get("options") or ()).by_name
    together = together._replace(by_ray=bool(together.members) and ray.is_needed(image, options))
    service, swapped = values["vllm_service_name"], [member.service for member in swap_others]

    def settings_with(may_take: share.Share | None, choice: Choice = choice) -> Settings:
        try:
            return merged(layers(values, choice, may_take, remedy, together, host))
        except ValueError as error:
            raise ResolveError(str(error)) from error

    def planned_with(may_take: share.Share, choice: Choice = choice) -> tuple[Settings, Plan]:
        settings = settings_with(may_take, choice)
        return settings, _plan(values, catalog, choice, settings, may_take, together.number)

    wish = settings_with(None).args.get("gpu_memory_utilization") or UTILIZATION

    def planned(offloaded_bytes: int = 0) -> tuple[share.Share, Settings, Plan]:
        asked = (wish, budget, offloaded_bytes, together.ray_bytes)
        may_take = _share(values, host, *asked)
        alone = _share(values, {**host, "services": []}, *asked)
        if alone.utilization > may_take.utilization:
            # A release is named after its share before the model is read: MODEL_INFO may not count.
            _settings, plan = planned_with(alone, choose(values, catalog, None))
            may_take = may_take.keeps(alone, plan.get("needed_bytes", 0))
        return may_take, *planned_with(may_take)

    may_take, settings, plan = planned()
    if together.number > 1 and (
        wrong := nodes.heads_problem(model, settings.args) or stages.problem(model, settings.args, settings.environment)
    ):
        raise ResolveError(wrong)
    if plan.get("offloaded_bytes"):  # which the options say, and then the share is what it leaves
        may_take, settings, plan = planned(plan["offloaded_bytes"])
    try:
        arguments = [model_path(values, model), *to_argv(settings.args)]
        lines = settings.lines
    except ValueError as error:
        raise ResolveError(str(error)) from error
    entrypoint = list(values["vllm_entrypoint"])
    gpu = _gpu(values["vllm_gpu"], host)
    needed = plan["needed_bytes"] + together.ray_bytes if plan and gpu != "none" else 0
    served_name = _served_name(settings.args, model_path(values, model))
    container, url, image_ref = names.container(values, model), names.url(values), names.image_ref(values, image)
    answer = probed.answer_for(image_ref, image_probe or {})
    argv = [*([] if entrypoint else image["command_prefix"]), *arguments]
    serve = nodes.Container(container, entrypoint, argv)
    refusal = probed.image_refusal(values, catalog, choice, settings, answer)
    return Resolved(
        unit=names.unit(values),
        watchdog=names.watchdog(values),
        home=names.home(values),
        container=container,
        containers=[one._asdict() for one in nodes.containers(values, together, serve, image, gpu != "none")],
        address=names.address(values),
        url=url,
        hf_cache=values["hf_cache_path"],
        container_cache=CONTAINER_CACHE,
        compile_cache=names.compile_cache(values),
        user=values["vllm_container_user"],
        require_key_file=f"{CONTAINER_CODE}/{REQUIRE_KEY}.py",
        # offline nothing is written there; but with download_dir vLLM makes a lock in it
        hf_cache_read_only=_is_offline(settings.environment) and "download_dir" not in settings.args,
        mounts=mounts(values, model, files),
        files=placed(files),
        entry=model,
        repositories=repositories(model, settings.args),
        image=image,
        image_ref=image_ref,
        image_refusal=image_refusal(values, catalog, choice) if refusal is None else refusal,
        probe_problems=[
            *probed.problems(settings, image, answer),
            *([] if entrypoint else probed.prefix_problems(image, answer)),
            *_nccl(values, together, settings, image, answer),
            *(probed.ray_problems(image, answer) if together.by_ray else []),
            *filter(None, [exposure.refusal(values, catalog, image, model, answer)]),
        ],
        profile=values["vllm_profile"],
        args=settings.args,
        environment=settings.environment,
        lines=lines,
        entrypoint=entrypoint,
        argv=argv,
        arguments=arguments,
        served_name=served_name,
        gpu=gpu,
        nodes=[node._asdict() for node in together.members],
        rank=together.rank,
        by_ray=together.by_ray,
        devices=nodes.devices(together, host),
        memory_bytes=may_take.memory_bytes,
        memory_gib=may_take.memory_gib,
        other_services=may_take.other_services,
        other_services_gib=may_take.other_services_gib,
        utilization=may_take.utilization,
        utilization_wish=may_take.wish,
        utilization_cap=max(may_take.cap, may_take.utilization),
        capped_by=may_take.capped_by,
        capped_for=may_take.capped_for,
        plan=plan,
        needed_bytes=needed,
        available_bytes=share.available_bytes(host),
        own_services=share.own_services(host, service),
        comes_free_bytes=share.comes_free_bytes(host, service, swapped),
        memory_is_taken=share.is_taken(host, service, needed, swapped),
        oversized=share.oversized(host, service, budget, swapped),
        container_release=_container_release(host, service),
        host_faults=[
            *host_faults(catalog.hosts(), host, {**settings.args, **settings.environment, **nodes.spans(together)}),
            *nodes.faults(together, host, settings.environment),
        ],
        budget=[part.text for part in budget.parts],
        budget_problem=budget.problem_of(service) or may_take.problem_of(service),
        copies=list(budget.copies),
        swap_others=[member._asdict() for member in swap_others],
        # What programs on the host have to know of a release: its file release.json, with the name of the release.
        facts={
            "container": container,
            "url": url,
            "model": served_name,
            "image": image_ref,
            "profile": values["vllm_profile"],
            "api_key_file": ".env",
            # vLLM takes its share at the start, or gives up
            "needed_bytes": needed,
            # the memory of a GB10 is the host's; without a GPU nothing counts the page cache as used
            "drop_page_cache": bool(values["vllm_drop_page_cache"]) and gpu != "none",
            **nodes.facts(values, together),
        },
    )


def _nccl(
    values: Values, together: nodes.Nodes, settings: Settings, image: Entry, answer: probed.Probed
) -> t.Iterator[str]:
    """What the image says of its NCCL: the matrix may not have it."""
    nccl = (answer.get("probe") or {}).get("nccl")
    if together.members and (
        wrong := nodes.nccl_problem(values, image, nccl, settings.environment, "an image with a newer one")
    ):
        yield wrong


def _share(
    values: Values, host: share.HostState, wish: t.Any, budget: share.Budget, offloaded_bytes: int, ray_bytes: int
) -> share.Share:
    try:
        reserve_gib = values["vllm_memory_reserve_gib"]
        service = values["vllm_service_name"]
        return share.share(host, service, float(wish), reserve_gib, budget, offloaded_bytes, ray_bytes)
    except (TypeError, ValueError):
        raise ResolveError(f"gpu_memory_utilization: {wish!r} is no number; use a share such as 0.90") from None


def _gpu(wanted: str, host: share.HostState) -> str:
    """CDI where the host offers the device that way: it survives a systemd daemon-reload, the legacy hook may not."""
    if wanted != "auto":
        return wanted
    devices = (host.get("toolkit") or {}).get("cdi_devices") or []
    folders = (host.get("docker") or {}).get("cdi_spec_dirs") or []
    return "cdi" if "nvidia.com/gpu=all" in devices and folders else "nvidia"


def _plan(
    values: Values, catalog: Catalog, choice: Choice, settings: Settings, may_take: share.Share, number: int
) -> Plan:
    """Empty as long as nobody knows what the model is, or how long a context is meant."""
    model, image, _profile = choice
    if not (model and image):
        raise AssertionError("a choice without a model or an image has no plan")
    length = settings.args.get("max_model_len")
    is_known = model.get("native_context") or (length and str(length) not in ("auto", "-1"))
    if not (model.get("weights_bytes") and may_take.memory_bytes and is_known):
        return {}
    host = Host(may_take.memory_bytes, may_take.highest, number)
    models = catalog.models(values["vllm_models"])
    try:
        return plan_with_remedies(model, host, settings.args, settings.environment, models, image["vllm"])
    except PlanError as error:
        raise ResolveError(str(error)) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ResolveError(f"nothing can be planned for {model['id']} ({what})") from error


def _is_offline(environment: t.Mapping[str, t.Any]) -> bool:
    """Whether the server writes nothing below its model cache, neither files of a model nor their code."""
    return str(environment.get("HF_HUB_OFFLINE")) == "1" and "HF_MODULES_CACHE" in environment


def _served_name(args: t.Mapping[str, t.Any], path: str) -> str:
    """The name that clients ask for; of several the first."""
    wanted = args.get("served_model_name") or path
    return str(wanted[0] if isinstance(wanted, list) else wanted)


def _container_release(host: share.HostState, service: str) -> str:
    """The release that the container of the service is of, by the look at the host.

    After a run that was broken off, the link current may name another one, with other secrets.
    """
    releases = [str(own.get("release") or "") for own in share.own_services(host, service)]
    return next((release for release in releases if re.fullmatch(r"[0-9a-f]{12}", release)), "")
