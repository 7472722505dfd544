# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gateway
short_description: Determine which servers a gateway forwards to
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Reads the variables of all hosts of the inventory group C(spark), also of hosts that are not in the play, and
    returns what a gateway on the current host forwards to, by model.
notes:
  - The result contains no secrets. Each C(vllm_api_key) is only compared.
options:
  _terms:
    description: Not used.
    type: list
    elements: str
seealso:
  - plugin: dgxspark.vllm.scrape
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Show the models of the fleet
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.gateway').models | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: One entry.
  type: list
  elements: dict
  contains:
    models:
      description:
        - Models in the order of the inventory, each with C(name), which clients ask for, C(backend), its name in the
          configuration of HAProxy, C(key_of), a host with the C(vllm_api_key) of its servers, empty if they have none,
          C(servers), each with C(name) and C(address), and C(takes_turns_with), models of the same C(vllm_swap_group).
      type: list
      elements: dict
      sample:
        - {name: Qwen/Qwen3-8B-FP8, backend: Qwen_Qwen3-8B-FP8-8c5c177b, key_of: spark01,
           servers: [{name: spark01, address: "192.168.1.41:8000"}], takes_turns_with: []}
    clients:
      description: The keys, each with its C(name) and its limits, without the keys themselves.
      type: list
      elements: dict
      sample: [{name: ada, requests_per_minute: 600, concurrent: 32, body_bytes: 4194304}]
    forwarded:
      description: Paths that clients with a key may ask for, besides C(/v1/models).
      type: list
      elements: str
      sample: [/v1/chat/completions]
    open_paths:
      description: Paths that the gateway answers without a key.
      type: list
      elements: str
      sample: [/health]
    virtual:
      description:
        - With C(gateway_virtual_address), C(address) and C(prefix) of it, C(own), the address of this gateway in that
          network, C(peers), those of the other gateways, and C(priority), which falls by the order of the group.
        - V(null) without it, and on a host that is not in the group C(gateway).
      type: dict
      sample: {address: 192.168.1.50, prefix: 24, own: 192.168.1.40, peers: [192.168.1.39], priority: 200}
    problems:
      description:
        - One line for each server that a gateway on this host cannot forward to, and for each reason why the gateways
          cannot share an address.
      type: list
      elements: str
      sample: []
"""

import hashlib
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import Options, options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan import names
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import ChoiceError
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.gateway import LIMITS, Unit, gateway
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.inventory import Inventory, InventoryError, Server
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import is_worker
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import READS, ResolveError, resolve
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.virtual_address import Member


class LookupModule(LookupBase):
    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        known = variables or {}
        hosts = Inventory(known, self._templar)
        options = {**options_of("vllm"), **options_of("gateway")}
        catalog = Catalog()
        read = (_unit(name, hosts, options, catalog) for name in hosts.group("spark"))
        units = [unit for unit in read if unit]
        here = known["inventory_hostname"]
        try:
            own = hosts.values(here, options, ["gateway_keys", *(f"gateway_{name}" for name in LIMITS)])
        except InventoryError as error:
            raise AnsibleLookupError(f"gateway: {error}") from error
        members = [_member(name, hosts, options) for name in hosts.group("gateway")]
        limits = {name: own[f"gateway_{name}"] for name in LIMITS}
        server = Server(here, hosts.machine(here)[0])
        return [gateway(server, units, own["gateway_keys"], limits, members)._asdict()]


def _member(host: str, hosts: Inventory, options: Options) -> Member:
    try:
        typed = hosts.values(host, options, ["gateway_server_address", "gateway_virtual_address"])
    except InventoryError as error:
        raise AnsibleLookupError(f"gateway: {error}") from error
    reached = typed["gateway_server_address"] or hosts.machine(host)[1]
    return Member(host, reached, typed["gateway_virtual_address"])


def _unit(host: str, hosts: Inventory, options: Options, catalog: Catalog) -> Unit | None:
    """None for a host that has no API, because it serves together with another one that has it."""
    try:
        typed = hosts.values(host, options, [*READS, "gateway_server_address", "vllm_swap_group"])
    except InventoryError as error:
        raise AnsibleLookupError(f"gateway: {error}") from error
    if is_worker(host, typed):
        return None
    try:
        service = resolve(typed, catalog)
    except (ChoiceError, ResolveError) as error:
        raise AnsibleLookupError(f"gateway: {host}: {error}") from error
    machine, reached = hosts.machine(host)
    key = typed["vllm_api_key"]
    return Unit(
        name=host,
        machine=machine,
        model=service.served_name,
        port=typed["vllm_port"],
        published=names.address(typed),
        key=hashlib.sha256(key.encode()).hexdigest() if key else "",
        reached=reached,
        address=typed["gateway_server_address"],
        swap_group=typed["vllm_swap_group"],
    )
