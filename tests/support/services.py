# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service as a user writes it, resolved; and hosts of which spark_info would say that they have a Spark's memory."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.owner_files import read_owner_files
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import Resolved, resolve

GIB = 1024**3
TOTAL = int(121.7 * GIB)
KNOWN = options_of("vllm")
CATALOG = Catalog()


def values(**variables: t.Any) -> TypedValues:
    typed, lines = TypedValues.of(KNOWN, variables)
    assert lines == []
    return typed


def spark(available: int = 116 * GIB, **more: t.Any) -> dict[str, t.Any]:
    return {"memory": {"total_bytes": TOTAL, "available_bytes": available}, "services": [], "listener": None, **more}


def service(name: str, planned: int | None, **more: t.Any) -> dict[str, t.Any]:
    return {"service": name, "container": f"{name}-x", "planned_bytes": planned, "release": None, **more}


def resolved(
    host: t.Mapping[str, t.Any] | None = None,
    remedy: t.Mapping[str, t.Any] | None = None,
    model_info: t.Mapping[str, t.Any] | None = None,
    image_probe: t.Mapping[str, t.Any] | None = None,
    **variables: t.Any,
) -> Resolved:
    typed = values(**variables)
    return resolve(typed, CATALOG, host, remedy, model_info, read_owner_files(typed["vllm_files"]), image_probe)
