# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument specifications of the roles: which variables there are, their types and their defaults."""

from __future__ import annotations

import typing as t

from .._common.yaml_files import COLLECTION, read

ROLES = COLLECTION / "roles"


# Variables of another role that a role reads, too.
_ALSO_READS = {"vllm": {"hf_cache": ("hf_cache_path",)}}

Options = dict[str, dict[str, t.Any]]


def read_specs(role: str) -> dict[str, t.Any]:
    """The argument specification of one of the roles, by entry point."""
    return t.cast(dict[str, t.Any], read(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"])


def options_of(role: str) -> Options:
    """Every variable that a role reads: those of all its entry points, and the few of other roles."""
    specs = read_specs(role)
    found: Options = {}
    for entry_point in (*specs.values(), specs.get("main") or {}):  # the role's own word on a default comes last
        found.update(entry_point.get("options") or {})
    for other, names in _ALSO_READS.get(role, {}).items():
        of_other = read_specs(other)["main"]["options"]
        found.update({name: of_other[name] for name in names})
    return found


def role_names() -> list[str]:
    return sorted(path.parent.parent.name for path in ROLES.glob("*/meta/argument_specs.yml"))
