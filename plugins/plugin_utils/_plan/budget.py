# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One memory budget for all services that vllm_services lists for a host. Pure.

It follows from the inventory and the memory of the host, and not from what runs there: a service has the same share
before and after the others are deployed. A share of its own counts as it is. The first service without one gets what
the others leave, and each further one what its model needs for one request. A service of which that cannot be said
refuses those that need it, and no others.

The services of a swap group run by turns: together they count as the largest of them, and they are nothing to each
other. So if the first service without a share is in a group, all of that group without one get what the others leave.
"""

from __future__ import annotations

import math
import typing as t

from .._catalog.catalog import Catalog
from .._catalog.vllm_options import share_text
from .choice import ChoiceError, Values
from .copies import copies
from .memory import UTILIZATION, Host, plan
from .resolve import ResolveError, resolve
from .share import LARGEST, LEAST, REST, Budget, HostState, Part, by_turns, share
from .words import GIB, gib

_SHARE = "vllm_gpu_memory_utilization"
_GROUP = "vllm_swap_group"
# Where a service may have a share of its own, and what is known of one that cannot be read as a whole.
SHARES = (_SHARE, _GROUP, "vllm_service_name", "vllm_home")


class Unread(t.NamedTuple):
    """A service of the list with variables that cannot be used. It says itself why, if it is in the play."""

    service: str
    why: str
    shares: Values | None  # with SHARES, if these can be used


class _With:
    """Values of a service with another share."""

    def __init__(self, values: Values, own: float) -> None:
        self._values, self._own = values, own

    def __getitem__(self, name: str) -> t.Any:
        return self._own if name == _SHARE else self._values[name]


def budget(services: t.Sequence[Values | Unread], catalog: Catalog, host: HostState) -> Budget:
    """For SERVICES in the order of their list. Empty for a single one, and as long as the host was not read."""
    total = int((host.get("memory") or {}).get("total_bytes") or 0)
    if len(services) < 2 or not total:
        return Budget()
    found: dict[str, Part | None] = {}
    unknown: dict[str, str] = {}  # whose part cannot be said, and why
    refused: dict[str, str] = {}
    rest: list[Values] = []
    has_rest, rest_group = False, ""
    for each in services:
        name, shares = (each.service, each.shares) if isinstance(each, Unread) else (each["vllm_service_name"], each)
        found[name] = None
        own = shares[_SHARE] or 0 if shares else 0
        if own:
            offloaded = 0 if isinstance(each, Unread) else _offloaded(each, catalog, total)
            group = shares[_GROUP] if shares else ""
            found[name] = Part(name, own, int(own * total) + offloaded, offloaded_bytes=offloaded, group=group)
        elif shares and (not has_rest or (rest_group and shares[_GROUP] == rest_group)):
            has_rest, rest_group = True, rest_group if has_rest else shares[_GROUP]
            rest += [] if isinstance(each, Unread) else [each]
        elif isinstance(each, Unread):
            unknown[name] = each.why
        else:
            try:
                least, offloaded = _least(each, catalog, total)
            except (ChoiceError, ResolveError) as error:  # which it says itself
                unknown[name] = str(error)
                continue
            if least:
                found[name] = Part(name, least, int(least * total) + offloaded, LEAST, offloaded, each[_GROUP])
            else:
                unknown[name] = f"nobody has said how large {each['vllm_model']} is"
                refused[name] = (
                    f"{_SHARE}: {name} needs one, because {unknown[name]}; "
                    "give it a share such as 0.15, or describe the model in vllm_models"
                )
    fixed = [part for part in found.values() if part]
    for values in rest:
        name = values["vllm_service_name"]
        if unknown:
            refused[name] = _unknown(name, unknown)
        else:
            beside = [part for part in fixed if not (rest_group and part.group == rest_group)]
            found[name] = _rest(values, catalog, total, by_turns(beside))
    parts = tuple(part for part in found.values() if part)
    offloaded = sum(part.offloaded_bytes for part in by_turns(parts))
    highest = min((_highest(each, total, offloaded) for each in services if not isinstance(each, Unread)), default=1.0)
    found_budget = Budget(parts, _problem(parts, highest, total), refused)
    read = [each for each in services if not isinstance(each, Unread)]
    return found_budget._replace(copies=copies(read, found_budget, catalog, total))


def _unknown(name: str, others: t.Mapping[str, str]) -> str:
    """One line: why it is not known what the others leave."""
    other, why = next(iter(others.items()))
    return (
        f"{_SHARE}: {name} gets what the others leave, and what {other} takes is not known ({why}); "
        f"correct {other}, or give {name} a share of its own"
    )


def _highest(values: Values, total: int, offloaded: int) -> float:
    """The largest share that the host can give to all services, beside what they offload."""
    return share({"memory": {"total_bytes": total}}, "", 1.0, values["vllm_memory_reserve_gib"] + offloaded / GIB).cap


def _offloaded(values: Values, catalog: Catalog, total: int) -> int:
    """What a service takes beside its share; 0 if that cannot be said."""
    try:
        found = resolve(values, catalog, {"memory": {"total_bytes": total}})
    except (ChoiceError, ResolveError):  # which it says itself
        return 0
    return int(found.plan.get("offloaded_bytes") or 0)


def _rest(values: Values, catalog: Catalog, total: int, others: t.Sequence[Part]) -> Part | None:
    try:
        alone = resolve(values, catalog, {"memory": {"total_bytes": total}})
    except (ChoiceError, ResolveError):  # which it says itself
        return None
    offloaded = int(alone.plan.get("offloaded_bytes") or 0)
    taken = (sum(part.planned_bytes for part in others) + offloaded) / GIB
    wish, reserve_gib = alone.utilization_wish, values["vllm_memory_reserve_gib"]
    left = share({"memory": {"total_bytes": total}}, "", wish, reserve_gib + taken)
    most = max(left.utilization, 0)
    return Part(values["vllm_service_name"], most, int(most * total) + offloaded, REST, offloaded, values[_GROUP])


def _least(values: Values, catalog: Catalog, total: int) -> tuple[float, int]:
    """The smallest share that holds one request, with what the plan may be wrong by, and what is offloaded beside it.

    The share is 0 if nothing can be planned.
    """
    alone = resolve(_With(values, UTILIZATION), catalog, {"memory": {"total_bytes": total}})
    if not alone.plan:
        return 0, 0
    offloaded = alone.plan["offloaded_bytes"]
    # whether the host has room for what is offloaded is asked of all parts together
    where = Host(total, 1.0 + offloaded / total, max(1, len(alone.nodes)))

    def planned(hundredths: int) -> dict[str, t.Any]:
        args = {**alone.args, "gpu_memory_utilization": hundredths / 100}
        return plan(alone.entry, where, args, alone.environment, alone.image["vllm"])

    low, high = 1, int(LARGEST * 100)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if planned(middle)["fits"] else (middle + 1, high)
    fitting, most = planned(low), planned(int(LARGEST * 100))
    parts = ("weights_bytes", "activation_bytes", "graph_bytes", "engine_bytes", "kv_bytes")
    used = max(low / 100 * total, sum(fitting[name] for name in parts))  # a KV cache of a given size ignores the share
    unsure = most["kv_bytes"] - most["kv_bytes_least"]
    return min(math.ceil((used + unsure) / total * 100) / 100, LARGEST), offloaded


def _problem(parts: t.Sequence[Part], highest: float, total: int) -> str:
    """One line with who holds what, if all of it is more than the host can give."""
    together = by_turns(parts)
    shares = sum(part.share for part in together)
    if shares <= highest + 1e-9 and all(part.share > 0 for part in parts):
        return ""
    held = ", ".join(f"{part.service} {share_text(part.share)}" for part in together if part.share > 0)
    offloaded = sum(part.offloaded_bytes for part in together)
    beside = f" beside {gib(offloaded)} of offloading" if offloaded else ""
    nothing = [part.service for part in parts if part.share <= 0]
    return (
        f"{_SHARE}: {held} {'leave nothing for ' + nothing[0] if nothing else f'are {shares:.2f} together'},"
        f" and this host can give {share_text(max(highest, 0))} of {gib(total)}{beside}; give them less"
    )
