# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a role's variables. Pure: values and specifications in, one line for each problem out."""

from __future__ import annotations

import typing as t

from .._catalog.catalog import Catalog
from .._catalog.specs import Options
from .._common.text import nearest
from .._common.types import TypedValues
from .benchmark import benchmark
from .common import mask
from .container_runtime import container_runtime
from .fabric import fabric
from .gateway import gateway
from .hf_cache import hf_cache
from .memory import memory
from .monitoring import monitoring
from .renamed import RENAMED, renamed
from .spark_host import spark_host
from .vllm import vllm

_RULES: dict[str, t.Callable[[TypedValues, Catalog], t.Iterator[str]]] = {
    "benchmark": benchmark,
    "container_runtime": container_runtime,
    "fabric": fabric,
    "gateway": gateway,
    "hf_cache": hf_cache,
    "monitoring": monitoring,
    "spark_host": spark_host,
    "vllm": vllm,
}


def problems(
    role: str,
    values: t.Mapping[str, t.Any],
    known: Options,
    catalog: Catalog,
    unreadable: t.Collection[str] = (),
    is_spark: bool = True,
) -> list[str]:
    """One line for each problem: the variable, its value, what is allowed. Nothing is said about unreadable ones.

    KNOWN are the options of the role. IS_SPARK is False where other hardware may be meant, of whose memory nothing is
    known here.
    """
    lines = [_unknown(role, name, known) for name in values if name not in known]
    checked, wrong = TypedValues.of(known, values, unreadable)
    lines += wrong
    if role in _RULES:
        lines += _RULES[role](checked, catalog)
    if role == "vllm" and is_spark and not lines and not unreadable:
        lines += memory(checked, catalog)
    return [mask(line, checked.secrets()) for line in lines]


def names_of(role: str, variables: t.Iterable[str], roles: t.Iterable[str], known: t.Container[str] = ()) -> list[str]:
    """The variables that a role answers for.

    Those with its prefix, and no other role's longer one; the KNOWN ones, also of another role; and their old names.
    """
    longer = tuple(f"{other}_" for other in roles if other.startswith(f"{role}_"))
    return sorted(
        name
        for name in variables
        if name in known or RENAMED.get(name) in known or (name.startswith(f"{role}_") and not name.startswith(longer))
    )


def secrets_of(known: Options) -> set[str]:
    return {name for name, option in known.items() if option.get("no_log")}


def _unknown(role: str, name: str, known: t.Iterable[str]) -> str:
    line = renamed(name)
    if line:
        return line
    prefix = f"{role}_"  # every name has it: it must not make strangers look alike
    near = nearest(name[len(prefix) :], [other[len(prefix) :] for other in known if other.startswith(prefix)])
    if near:
        return f"{name}: unknown variable; did you mean {prefix}{near}?"
    return (
        f"{name}: unknown variable; names that begin with {prefix} belong to the role {role},"
        f" rename yours, or see `ansible-doc -t role dgxspark.vllm.{role}`"
    )
