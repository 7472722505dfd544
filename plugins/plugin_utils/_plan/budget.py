# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One memory budget for all services that vllm_services lists for a host. Pure.

It follows from the inventory and the memory of the host, and not from what runs there: a service has the same share
before and after the others are deployed. A share of its own counts as it is. The first service without one gets what
the others leave, and each further one what its model needs for one request.
"""

from __future__ import annotations

import math
import typing as t

from .._catalog.catalog import Catalog
from .._catalog.vllm_options import share_text
from .choice import Values
from .memory import UTILIZATION, Host, plan
from .resolve import resolve
from .share import LEAST, REST, Budget, HostState, Part, share
from .words import GIB, gib

_SHARE = "vllm_gpu_memory_utilization"
_LARGEST = 0.95  # as of _SHARE


class _With:
    """Values of a service with another share."""

    def __init__(self, values: Values, own: float) -> None:
        self._values, self._own = values, own

    def __getitem__(self, name: str) -> t.Any:
        return self._own if name == _SHARE else self._values[name]


def budget(services: t.Sequence[Values], catalog: Catalog, host: HostState) -> Budget:
    """For SERVICES in the order of their list. Empty for a single one, and as long as the host was not read."""
    total = int((host.get("memory") or {}).get("total_bytes") or 0)
    if len(services) < 2 or not total:
        return Budget()
    found: list[Part | None] = []
    rest: Values | None = None
    for values in services:
        name, own = values["vllm_service_name"], own_share(values)
        if own:
            found.append(Part(name, own, int(own * total)))
        elif rest is None:
            rest = values
            found.append(None)
        else:
            least = _least(values, catalog, total)
            if not least:
                model = values["vllm_model"]
                return Budget(
                    problem=f"{_SHARE}: {name} needs one, because nobody has said how large {model} is; "
                    "give it a share such as 0.15, or describe the model in vllm_models"
                )
            found.append(Part(name, least, int(least * total), LEAST))
    parts = [part for part in found if part]
    highest = min(_highest(values, total) for values in services)
    if rest is not None:
        left = _rest(rest, catalog, total, parts)
        parts = [part or Part(rest["vllm_service_name"], left, int(left * total), REST) for part in found]
    return Budget(tuple(parts), _problem(parts, highest, total))


def own_share(values: Values) -> float:
    """What the owner has said; 0 for nothing."""
    said = (values["vllm_extra_args"] or {}).get("gpu_memory_utilization") or values[_SHARE] or 0
    try:
        return float(said)
    except (TypeError, ValueError):
        return 0


def _highest(values: Values, total: int) -> float:
    return share({"memory": {"total_bytes": total}}, "", 1.0, values["vllm_memory_reserve_gib"]).cap


def _rest(values: Values, catalog: Catalog, total: int, others: t.Sequence[Part]) -> float:
    alone = resolve(values, catalog, {"memory": {"total_bytes": total}})
    taken = sum(part.planned_bytes for part in others) / GIB
    left = share(
        {"memory": {"total_bytes": total}}, "", alone.utilization_wish, values["vllm_memory_reserve_gib"] + taken
    )
    return max(left.utilization, 0)


def _least(values: Values, catalog: Catalog, total: int) -> float:
    """The smallest share that holds one request, with what the plan may be wrong by. 0 if nothing can be planned."""
    alone = resolve(_With(values, UTILIZATION), catalog, {"memory": {"total_bytes": total}})
    if not alone.plan:
        return 0
    where = Host(total, 1.0, max(1, len(alone.nodes)))

    def planned(hundredths: int) -> dict[str, t.Any]:
        args = {**alone.args, "gpu_memory_utilization": hundredths / 100}
        return plan(alone.entry, where, args, alone.environment, alone.image["vllm"])

    low, high = 1, int(_LARGEST * 100)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if planned(middle)["fits"] else (middle + 1, high)
    fitting, most = planned(low), planned(int(_LARGEST * 100))
    parts = ("weights_bytes", "activation_bytes", "graph_bytes", "engine_bytes", "kv_bytes")
    used = max(low / 100 * total, sum(fitting[name] for name in parts))  # a KV cache of a given size ignores the share
    unsure = most["kv_bytes"] - most["kv_bytes_least"]
    return min(math.ceil((used + unsure) / total * 100) / 100, _LARGEST)


def _problem(parts: t.Sequence[Part], highest: float, total: int) -> str:
    """One line with who holds what, if all of it is more than the host can give."""
    shares = sum(part.share for part in parts)
    if shares <= highest + 1e-9 and all(part.share > 0 for part in parts):
        return ""
    held = ", ".join(f"{part.service} {share_text(part.share)}" for part in parts if part.share > 0)
    nothing = [part.service for part in parts if part.share <= 0]
    return (
        f"{_SHARE}: {held} {'leave nothing for ' + nothing[0] if nothing else f'are {shares:.2f} together'},"
        f" and this host can give {share_text(highest)} of {gib(total)}; give them less"
    )
