# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs that several services of one host serve the same model. Pure.

Behind a gateway a deployment changes one of them while another one serves. Each has the weights in memory, so together
they hold fewer tokens than one service would. Of those that take turns one at a time runs.
"""

from __future__ import annotations

import typing as t

from .._catalog.catalog import Catalog
from .choice import ChoiceError, Values
from .memory import Host, plan
from .resolve import Resolved, ResolveError, resolve
from .share import Budget


def copies(services: t.Sequence[Values], parts: Budget, catalog: Catalog, total: int) -> tuple[str, ...]:
    """A line for each model that several of SERVICES serve under one name. TOTAL is the memory of the host."""
    wanted = [each["vllm_model"] for each in services]
    same: dict[tuple[str, str], dict[str, tuple[str, Resolved]]] = {}
    for each in services:
        if wanted.count(each["vllm_model"]) < 2:
            continue
        try:
            found = resolve(each, catalog, {"memory": {"total_bytes": total}}, budget=parts)
        except (ChoiceError, ResolveError):  # which it says itself
            continue
        if found.plan.get("kv_tokens"):
            key, name = (found.entry["id"], found.served_name), each["vllm_service_name"]
            part = parts.of(name)
            turns = f"turns {part.group}" if part and part.group else name  # no name has a space
            same.setdefault(key, {}).setdefault(turns, (name, found))
    lines = (_line(name, list(group.values()), total) for (_id, name), group in same.items() if len(group) > 1)
    return tuple(line for line in lines if line)


def _line(name: str, group: t.Sequence[tuple[str, Resolved]], total: int) -> str:
    """Empty where one service would hold no more, because the size of the KV cache is given."""
    first = group[0][1]
    args = {**first.args, "gpu_memory_utilization": sum(each.utilization for _service, each in group)}
    one = plan(first.entry, Host(total, 1.0, 1), args, first.environment, first.image["vllm"])["kv_tokens"]
    tokens = [each.plan["kv_tokens"] for _service, each in group]
    if one <= sum(tokens):
        return ""
    services = " and ".join(service for service, _each in group)
    held = " and ".join(f"{count:,}" for count in tokens)
    return (
        f"{services} serve the same model, {name}, with {held} tokens of KV cache; one service with the memory of all"
        f" of them would have {one:,}"
    )
