# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it may change at any time.
"""What fits into no DGX Spark, before one is asked. The role plans again with the memory that the host really has."""

from __future__ import annotations

import math

from .._catalog.catalog import Catalog
from .._plan.memory import GIB, Host, PlanError, plan_with_remedies
from .common import Lines
from .model import merged_args
from .types import Checked, number

SPARK_GIB = 121.7  # S: MemTotal of current DGX OS, the largest that one shows


def memory(checked: Checked, catalog: Catalog) -> Lines:
    """Only for values that have no other problem, and for a model that somebody has described."""
    if not checked["vllm_enforce_memory_plan"]:
        return
    image = catalog.image(checked["vllm_image"], checked["vllm_images"], unknown_too=True)
    model = catalog.model(checked["vllm_model"], checked["vllm_models"], image)
    if not model["described"]:
        return
    profile = catalog.profiles(checked["vllm_profiles"])[checked["vllm_profile"]]
    args = {name: value for name, (_where, value) in merged_args(checked, model, profile, image).items()}
    highest = math.floor((SPARK_GIB - checked["vllm_memory_reserve_gib"]) / SPARK_GIB * 100) / 100
    wish = number(checked["vllm_gpu_memory_utilization"] or args["gpu_memory_utilization"])
    args["gpu_memory_utilization"] = min(wish, highest)
    environment = {**model["environment"], **model["image_environment"], **checked["vllm_extra_env"]}
    host = Host(int(SPARK_GIB * GIB), highest)
    models = catalog.models(checked["vllm_models"])
    try:
        plan = plan_with_remedies(model, host, args, environment, models, image["vllm"])
    except PlanError:
        return
    if plan["fits"] or (checked["vllm_auto_remedy"] and plan["max_context"] > 0):
        return
    ways = " ".join(f"{place}. {remedy}" for place, remedy in enumerate(plan["remedies"], 1))
    yield (
        f"vllm_model: {model['name']} does not fit into the memory of a Spark: {plan['problem']};"
        f" {f'what fits: {ways}' if ways else 'use another model'}; vllm_enforce_memory_plan: false tries it all the same, and"
        " for other hardware set spark_host_allow_other_hardware: true"
    )
