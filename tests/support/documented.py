# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of a module, with the fragments that it extends."""

from __future__ import annotations

import types
import typing as t

import yaml
from ansible_collections.dgxspark.vllm.plugins.doc_fragments import attributes, hf_cache, hf_model

FRAGMENTS = {
    module.__name__.rpartition(".")[2]: module.ModuleDocFragment for module in (attributes, hf_cache, hf_model)
}


def options(module: types.ModuleType) -> dict[str, t.Any]:
    """Field by field, what the module itself documents wins over the fragments, as in Ansible."""
    documentation = yaml.safe_load(module.DOCUMENTATION)
    found: dict[str, t.Any] = {}
    for slug in documentation.get("extends_documentation_fragment", []):
        name, _dot, section = slug.removeprefix("dgxspark.vllm.").partition(".")
        fragment = yaml.safe_load(getattr(FRAGMENTS[name], section.upper() or "DOCUMENTATION"))
        found.update(fragment["options"])
    for name, option in documentation["options"].items():
        found[name] = {**found.get(name, {}), **option}
    return found
