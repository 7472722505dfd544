# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fits into no DGX Spark, before one is asked. The role plans again with the memory that the host really has."""

from __future__ import annotations

from .._catalog.catalog import Catalog
from .._common.types import TypedValues
from .._plan.resolve import ResolveError, resolve
from .._plan.words import GIB
from .common import Lines

SPARK_GIB = 121.7  # S: MemTotal of current DGX OS, the largest that one shows
SPARK = {"memory": {"total_bytes": int(SPARK_GIB * GIB)}}


def memory(checked: TypedValues, catalog: Catalog) -> Lines:
    """Only for values that have no other problem, and for a model that somebody has described."""
    if not checked["vllm_enforce_memory_plan"]:
        return
    try:
        service = resolve(checked, catalog, SPARK)
    except ResolveError:
        return
    plan = service.plan
    if not service.entry["described"] or not plan or plan["fits"]:
        return
    if checked["vllm_auto_remedy"] and plan["max_context"] > 0:
        return
    ways = " ".join(f"{place}. {remedy}" for place, remedy in enumerate(plan["remedies"], 1))
    yield (
        f"vllm_model: {service.entry['name']} does not fit into the memory of a Spark: {plan['problem']};"
        f" {f'what fits: {ways}' if ways else 'use another model'}; vllm_enforce_memory_plan: false tries it all the"
        " same, and for other hardware set spark_host_allow_other_hardware: true"
    )
