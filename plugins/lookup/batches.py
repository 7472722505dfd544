# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
short_description: Batches of a play that separate services of one machine
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Returns batches for the keyword C(serial). They are the given ones, except that no batch contains two hosts of the
    inventory that are one machine. On one machine, services start one after the other, because vLLM measures the memory
    while it starts.
  - Hosts that serve one model together (C(vllm_nodes)) count as one, and on all of their machines. Their head does the
    work of its workers.
notes:
  - In the first play of a run, Ansible does not know the variables of hosts yet. The given sizes are returned then.
options:
  _terms:
    description: Sizes of the batches as in C(serial), numbers or shares such as V(25%).
    type: list
    elements: str
    required: true
seealso:
  - plugin: dgxspark.vllm.services
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Work through the services, the first one as the canary
  hosts: spark
  gather_facts: false
  serial: "{{ query('dgxspark.vllm.batches', '1', '25%', '100%') }}"
  tasks:
    - name: Show the batch
      ansible.builtin.debug:
        msg: "{{ ansible_play_batch }}"
# => with three services on one machine: three batches of one
"""

RETURN = r"""
_list:
  description: Sizes of the batches.
  type: list
  elements: str
  sample: ["1", "25%", "100%"]
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.batches import batches
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.inventory import Inventory, InventoryError


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        known, sizes = variables or {}, [str(term) for term in terms]
        if "hostvars" not in known:
            return sizes
        inventory, options = Inventory(known, self._templar), options_of("vllm")

        def works_on(host: str) -> frozenset[str]:
            try:
                nodes = inventory.values(host, options, ["vllm_nodes"])["vllm_nodes"]
            except InventoryError:  # the host says itself what is wrong
                nodes = []
            if host in nodes[1:]:
                return frozenset()
            return frozenset(inventory.machine(name)[0] for name in [host, *nodes] if name in inventory)

        return batches([works_on(host) for host in known["ansible_play_hosts_all"]], sizes)
