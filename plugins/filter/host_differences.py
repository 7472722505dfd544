# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host_differences
short_description: List the differences between a host and its desired state
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Compares the result of M(dgxspark.vllm.spark_info) with the desired state, so that tasks that would change nothing
    can be skipped together.
  - The comparison is strict. A value that was not read, or is not exactly as desired, is a difference. The tasks then
    run and determine what to change.
positional: wanted
options:
  _input:
    description: RV(dgxspark.vllm.spark_info#module:spark) of a call that has read everything in O(wanted).
    type: dict
    required: true
  wanted:
    description: The desired state. Omitted values are not compared.
    type: dict
    required: true
    suboptions:
      packages:
        description: Debian packages to be installed, out of RV(dgxspark.vllm.spark_info#module:spark.packages).
        type: list
        elements: str
      commands:
        description: Commands to be installed.
        type: list
        elements: str
      files:
        description:
          - Files by path, each with any of C(type) (default V(file)), C(owner), C(group), C(mode) in octal digits,
            C(content), which is the whole text, and C(settings).
          - C(settings) is for files of lines C(KEY=VALUE). The last line with the key must have exactly this value.
        type: dict
      sysctl:
        description: Kernel parameters by name.
        type: dict
      units:
        description: systemd units by name, each with C(active) and C(enabled), V(true) or V(false).
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
