# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused of the variables of a service."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of, read_specs
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.model import notices
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import problems

DEFAULTS = {name: option.get("default") for name, option in read_specs("vllm")["main"]["options"].items()}


def said(**values: t.Any) -> str:
    """What the check of the variables says: problems, else notices."""
    catalog = Catalog()
    values = {**DEFAULTS, **values}
    return "\n".join(problems("vllm", values, options_of("vllm"), catalog) or notices("vllm", values, catalog))
