# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rank_differences
short_description: Compare the hosts that serve one model together
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Compares GPU drivers and clocks. Values that were not read are not compared.
  - Clocks differ if they are certainly more than 5 seconds apart.
options:
  _input:
    description: What M(dgxspark.vllm.spark_info) returned for each host, by its name.
    type: dict
    required: true
seealso:
  - module: dgxspark.vllm.spark_info
"""

EXAMPLES = r"""
- name: Show what differs between two hosts
  ansible.builtin.debug:
    msg: "{{ {'spark01': hostvars.spark01.read, 'spark02': hostvars.spark02.read} | dgxspark.vllm.rank_differences }}"
"""

RETURN = r"""
_value:
  description: One line for each difference, with its remedy.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.ranks import differences


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"rank_differences": differences}
