# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: profile
short_description: Look up a profile, a set of tuning options
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Returns the options of a profile, by its name.
  - The profiles of the catalog are in the file C(catalog/profiles.yml). The variable C(vllm_profiles) adds profiles, or
    changes options of known ones. It is merged over the catalog by name and key.
options:
  _terms:
    description: Names of profiles.
    type: list
    elements: str
    required: true
seealso:
  - plugin: dgxspark.vllm.model
    plugin_type: lookup
  - plugin: dgxspark.vllm.service
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Show the number of concurrent requests of a profile
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.profile', 'latency').args.max_num_seqs }}"
# => 16

# In the inventory: a user-defined profile
# vllm_profile: one-user
# vllm_profiles:
#   one-user:
#     args: {max_model_len: 32768, gpu_memory_utilization: 0.8, max_num_batched_tokens: 8192, max_num_seqs: 2}
"""

RETURN = r"""
_value:
  description: The profile.
  type: list
  elements: dict
  contains:
    args:
      description: Options of C(vllm serve) by name.
      type: dict
      sample: {max_model_len: 16384, gpu_memory_utilization: 0.85, max_num_batched_tokens: 8192, max_num_seqs: 16}
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog, CatalogError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain


class LookupModule(LookupBase):
    def run(
        self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        own = plain(self._templar.template((variables or {}).get("vllm_profiles") or {}))
        if not isinstance(own, dict):
            raise AnsibleLookupError("vllm_profiles: is not allowed; use a mapping of profiles by name")
        catalog = Catalog()
        try:
            return [catalog.profile(str(term), own) for term in terms]
        except CatalogError as error:
            raise AnsibleLookupError(f"profile: {error}") from error
