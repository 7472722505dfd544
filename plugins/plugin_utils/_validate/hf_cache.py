# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role hf_cache. One line for each problem."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in, wrong_cache

from .._catalog.catalog import Catalog
from .._common.text import show
from .._common.types import TypedValues
from .common import Lines, at_least, folder, matches


def hf_cache(checked: TypedValues, catalog: Catalog) -> Lines:
    yield from folder(checked, "hf_cache_path", "/opt/hf", wrong_for=wrong_cache)
    for name in ("hf_cache_owner", "hf_cache_group"):
        yield from matches(
            checked, name, r"[a-z_][a-z0-9_.-]{0,31}\$?|[0-9]{1,10}", "a name such as root, or a number", empty=True
        )
    if checked.valid("hf_cache_mode") and checked["hf_cache_mode"]:
        mode = checked["hf_cache_mode"]
        if not re.fullmatch(r"[0-7]{4}", mode):
            yield f'hf_cache_mode: {show(mode)} is not allowed; use four octal digits in quotes, such as "0755"'
        elif mode[1] != "7":
            yield f'hf_cache_mode: {show(mode)} locks the owner out; use "0755", or "2775" to share it with the group'
    yield from _default_acl(checked)
    if checked.valid("hf_cache_source") and str(checked["hf_cache_source"]).startswith("/"):
        yield from folder(checked, "hf_cache_source", "/mnt/models")
        if checked.valid("hf_cache_path") and lies_in(checked["hf_cache_source"], checked["hf_cache_path"]):
            yield f"hf_cache_source: {show(checked['hf_cache_source'])} is in hf_cache_path; use a folder outside of it"
    else:
        yield from matches(
            checked, "hf_cache_source", r"[\w.-]+", "a host of the inventory, or an absolute path", empty=True
        )
    yield from matches(
        checked,
        "hf_cache_source_address",
        r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*",
        "an address or a name of the source such as 192.168.100.1",
        empty=True,
    )
    yield from at_least(checked, "hf_cache_space_bytes", 0, "bytes")
    yield from at_least(checked, "hf_cache_keep_free_gib", 0, "GiB")


def unknown_source(source: t.Any, variables: t.Mapping[str, t.Any]) -> Lines:
    """A source that is a name has to be a host of the inventory; VARIABLES are those of a task."""
    groups = variables.get("groups") or {}
    hosts = list(groups.get("all") or [])
    if isinstance(source, str) and re.fullmatch(r"[\w.-]+", source) and source not in hosts:
        near = groups.get(source) or hosts  # a host that lists its services is a group
        others = ", ".join(host for host in near if host != variables.get("inventory_hostname"))
        yield (
            f"hf_cache_source: {source} is not a host of the inventory;"
            f" use {f'one of {others}, or ' if others else ''}an absolute path such as /mnt/models"
        )


def _default_acl(checked: TypedValues) -> Lines:
    for entry in checked["hf_cache_default_acl"] if checked.valid("hf_cache_default_acl") else []:
        if not re.fullmatch(r"(user|group):[A-Za-z0-9_.-]+\$?:[r-][w-][xX-]", str(entry)):
            yield f"hf_cache_default_acl: {show(entry)} is not allowed; use entries such as group:models:rwX"
