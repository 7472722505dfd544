# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The validation of a role, its defaults filled in."""

from __future__ import annotations

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of, read_specs
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate import problems as validate_problems

from support.bad_inputs import Values


def defaults(role: str) -> Values:
    options = read_specs(role)["main"]["options"]
    return {name: option["default"] for name, option in options.items() if "default" in option}


def problems(values: Values, role: str = "vllm") -> list[str]:
    return validate_problems.problems(role, {**defaults(role), **values}, options_of(role), Catalog())
