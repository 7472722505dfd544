# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fabric_plan
short_description: Plan the addresses of the cables between Sparks
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Determines from the results of M(dgxspark.vllm.fabric_info) of all hosts of a fabric which port is cabled to which,
    and gives each interface an address. The same hosts, cables and network always give the same addresses.
  - A pair has a subnet for each of the two rails of its cable, a ring of three has two for each of its three cables, a
    switch has one for each rail.
options:
  _input:
    description:
      - Hosts by name, in the order of the inventory. Each has C(info), which is
        RV(dgxspark.vllm.fabric_info#module:fabric), C(topology), C(network) and C(mtu), V(0) to leave it.
    type: dict
    required: true
seealso:
  - module: dgxspark.vllm.fabric_info
  - module: dgxspark.vllm.fabric_netplan
"""

EXAMPLES = r"""
- name: Show the addresses
  ansible.builtin.debug:
    msg: "{{ (hosts | dgxspark.vllm.fabric_plan).addresses }}"
  vars:
    settings: {topology: pair, network: 192.168.100.0/22, mtu: 0}
    hosts:
      spark01: "{{ settings | combine({'info': hostvars.spark01.host.fabric}) }}"
      spark02: "{{ settings | combine({'info': hostvars.spark02.host.fabric}) }}"
"""

RETURN = r"""
_value:
  description: The plan.
  type: dict
  contains:
    problems:
      description: One line for each reason for which there is no plan. The other values are empty then.
      type: list
      elements: str
      sample: []
    notices:
      description: What does not keep the plan from being used, one line each.
      type: list
      elements: str
      sample: []
    files:
      description: Content of the file of netplan, by host.
      type: dict
      sample: {spark01: "# Managed by dgxspark.vllm, role fabric. ..."}
    addresses:
      description: Addresses by host and interface.
      type: dict
      sample: {spark01: {enp1s0f0np0: 192.168.100.1/24, enP2p1s0f0np0: 192.168.101.1/24}}
    checks:
      description: What M(dgxspark.vllm.fabric_measure) measures, from C(client) to C(server) by C(rail).
      type: list
      elements: dict
      sample:
        - number: 0
          rail: 0
          method: rdma
          mtu: 1500
          client:
            {host: spark01, address: 192.168.100.1, interface: enp1s0f0np0, device: rocep1s0f0,
             mac: "4c:bb:47:00:00:01", speed_mbps: 200000}
          server:
            {host: spark02, address: 192.168.100.2, interface: enp1s0f0np0, device: rocep1s0f0,
             mac: "4c:bb:47:00:00:02", speed_mbps: 200000}
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.fabric import plan


def fabric_plan(hosts: t.Any) -> dict[str, t.Any]:
    values = plain(hosts)
    if not isinstance(values, dict) or not values:
        raise AnsibleFilterError("fabric_plan needs a mapping of hosts")
    return plan(values)._asdict()


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fabric_plan": fabric_plan}
