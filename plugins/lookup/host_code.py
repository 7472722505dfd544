# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host_code
short_description: List the files that the module host_code copies to a host
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Reads files and folders of this collection in the same way as the module M(dgxspark.vllm.host_code).
  - The result is a desired state for the filter P(dgxspark.vllm.host_differences#filter), which determines whether the
    module would change anything.
options:
  _terms:
    description: Files and folders, relative to the collection, as O(dgxspark.vllm.host_code#module:paths).
    type: list
    elements: str
    required: true
  folder:
    description: Folder of the code on the host, as RV(dgxspark.vllm.host_code#module:folder).
    type: str
    required: true
seealso:
  - module: dgxspark.vllm.host_code
  - plugin: dgxspark.vllm.host_differences
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the host
  dgxspark.vllm.spark_info:
    files: "{{ code.keys() | list }}"
  register: host

- name: Install the daily clean
  dgxspark.vllm.host_code:
    name: dgxspark-hf-clean
    paths: "{{ paths }}"
  when: "host.spark | dgxspark.vllm.host_differences({'files': code}) | length > 0"
  vars:
    paths: [plugins/module_utils/_hf_cache, roles/hf_cache/files/clean.py]
    code: "{{ lookup('dgxspark.vllm.host_code', *paths, folder='/usr/local/lib/dgxspark/dgxspark-hf-clean') }}"
"""

RETURN = r"""
_value:
  description: Files by path on the host, each with its C(content).
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.host_code import collect


class LookupModule(LookupBase):
    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, dict[str, str]]]:
        self.set_options(var_options=variables, direct=kwargs)
        folder = self.get_option("folder")
        try:
            return [{f"{folder}/{path}": {"content": content} for path, content in collect(terms).items()}]
        except ValueError as error:
            raise AnsibleLookupError(f"host_code: {error}") from error
