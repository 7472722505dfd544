# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: os_updates
short_description: Tell what an update of the packages would do to a host
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Reads the output of C(apt-get --simulate upgrade). Packages on hold are not in it.
  - Kernels and drivers among the packages are compared with those that the catalog knows to be bad
    (C(catalog/hosts.yml)).
positional: nodes
options:
  _input:
    description: The output, in English.
    type: str
    required: true
  nodes:
    description: How many hosts serve the model together. Some kernels are bad only for several.
    type: int
    default: 1
"""

EXAMPLES = r"""
- name: Simulate the update
  ansible.builtin.command: apt-get --simulate upgrade
  environment: {LC_ALL: C}
  changed_when: false
  register: simulated

- name: Show the packages
  ansible.builtin.debug:
    msg: "{{ (simulated.stdout | dgxspark.vllm.os_updates).packages }}"
"""

RETURN = r"""
_value:
  description: What the update would do.
  type: dict
  contains:
    packages:
      description: Packages that are updated or added.
      type: list
      elements: str
      sample: [linux-image-6.17.0-1032-nvidia]
    reboot:
      description: Whether a kernel or a GPU driver is among them.
      type: bool
      sample: true
    faults:
      description: What is known to be bad of them, each with C(what) and its C(packages).
      type: list
      elements: dict
"""

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.os_updates import os_updates as read


def os_updates(simulated: t.Any, nodes: int = 1) -> dict[str, t.Any]:
    return read(str(simulated), Catalog().hosts(), nodes)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"os_updates": os_updates}
