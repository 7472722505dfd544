# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host_differences
short_description: Lists in what a host differs from the wanted state
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Compares what M(dgxspark.vllm.spark_info) has read in one call with the state that is wanted, so that tasks which
    would change nothing can be skipped together.
  - The comparison is strict. What was not read, or is not exactly as wanted, is a difference, so that the tasks run and
    decide for themselves.
positional: wanted
options:
  _input:
    description: RV(dgxspark.vllm.spark_info#module:spark) of a module call that has read all that is wanted.
    type: dict
    required: true
  wanted:
    description: The wanted state. What is left out is not compared.
    type: dict
    required: true
    suboptions:
      packages:
        description: Debian packages that are installed, of those in RV(dgxspark.vllm.spark_info#module:spark.packages).
        type: list
        elements: str
      commands:
        description: Commands that are installed.
        type: list
        elements: str
      files:
        description:
          - Files by their path, each with any of C(type) (V(file) if left out), C(owner), C(group), C(mode) as octal
            digits, C(content), the whole text, and C(settings).
          - C(settings) is for a file of lines C(KEY=VALUE). The last line that sets the key has to be exactly this one.
        type: dict
      sysctl:
        description: Kernel parameters by their name.
        type: dict
      units:
        description: systemd units by their name, each with C(active) and C(enabled), V(true) or V(false).
        type: dict
seealso:
  - module: dgxspark.vllm.spark_info
"""

EXAMPLES = r"""
- name: Read the host
  dgxspark.vllm.spark_info:
    files: [/etc/sysctl.d/90-dgxspark.conf]
    sysctl: [vm.swappiness]
  register: host

- name: Set the kernel parameters
  ansible.builtin.include_tasks: sysctl.yml
  vars:
    wanted:
      files:
        /etc/sysctl.d/90-dgxspark.conf: {settings: {vm.swappiness: 10}}
      sysctl: {vm.swappiness: 10}
  when: host.spark | dgxspark.vllm.host_differences(wanted) | length > 0
"""

RETURN = r"""
_value:
  description: One line for each difference.
  type: list
  elements: str
  sample: [vm.swappiness is 60, not 10]
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.host_state import differences


def host_differences(spark: t.Any, wanted: t.Any) -> list[str]:
    for name, value in (("input", spark), ("wanted", wanted)):
        if not isinstance(value, t.Mapping):
            raise AnsibleFilterError(f"host_differences: {name} must be a mapping, not {type(value).__name__}")
    try:
        return differences(spark, wanted)
    except ValueError as error:
        raise AnsibleFilterError(f"host_differences: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"host_differences": host_differences}
