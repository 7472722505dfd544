# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it may change at any time.
"""What is wrong with a role's variables. Pure: values and specifications in, one line for each problem out."""

from __future__ import annotations

import typing as t

from .._catalog.catalog import Catalog, nearest
from . import common
from .common import mask
from .memory import memory
from .types import Checked
from .vllm import vllm

Specs = t.Mapping[str, t.Any]  # argument_specs.yml below its only key
_RULES: dict[str, t.Callable[[Checked, Catalog], t.Iterator[str]]] = {
    "container_runtime": common.container_runtime,
    "hf_cache": common.hf_cache,
    "spark_host": common.spark_host,
    "vllm": vllm,
}


def problems(
    role: str,
    values: t.Mapping[str, t.Any],
    specs: Specs,
    catalog: Catalog,
    unreadable: t.Collection[str] = (),
    is_spark: bool = True,
) -> list[str]:
    """One line for each problem: the variable, its value, what is allowed. Nothing is said about unreadable ones.

    IS_SPARK is False where other hardware may be meant, of whose memory nothing is known here.
    """
    known: dict[str, t.Any] = {}
    for entry_point in specs.values():
        known.update(entry_point.get("options") or {})
    known.update(specs.get("main", {}).get("options") or {})  # the role's own word on a default
    lines = [_unknown(role, name, known) for name in values if name not in known]
    checked = Checked(known, unreadable)
    for name, option in known.items():
        if name in values:
            lines += checked.take(name, values[name], option)
    if role in _RULES:
        lines += _RULES[role](checked, catalog)
    if role == "vllm" and is_spark and not lines and not unreadable:
        lines += memory(checked, catalog)
    return [mask(line, checked.secrets()) for line in lines]


def names_of(role: str, variables: t.Iterable[str], roles: t.Iterable[str]) -> list[str]:
    """The variables that belong to a role: its prefix, and no other role's longer one."""
    longer = tuple(f"{other}_" for other in roles if other.startswith(f"{role}_"))
    return sorted(name for name in variables if name.startswith(f"{role}_") and not name.startswith(longer))


def secrets_of(specs: Specs) -> set[str]:
    return {
        name
        for entry_point in specs.values()
        for name, option in (entry_point.get("options") or {}).items()
        if option.get("no_log")
    }


def _unknown(role: str, name: str, known: t.Iterable[str]) -> str:
    prefix = f"{role}_"  # every name has it: it must not make strangers look alike
    near = nearest(name[len(prefix) :], [other[len(prefix) :] for other in known])
    if near:
        return f"{name}: unknown variable; did you mean {prefix}{near}?"
    return (
        f"{name}: unknown variable; names that begin with {prefix} belong to the role {role},"
        f" rename yours, or see `ansible-doc -t role dgxspark.vllm.{role}`"
    )
