# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: scrape
short_description: Determine which Prometheus scrapes which vLLM servers and node exporters
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Reads the variables of all hosts of the inventory group C(spark), also of hosts that are not in the play, and
    returns what the current host has to do with monitoring.
  - With hosts in the inventory group C(monitoring), each of them scrapes all Sparks. Without that group, each Spark
    scrapes itself.
notes:
  - The result contains no secrets. C(vllm_api_key) is only tested for being set.
options:
  _terms:
    description: Not used.
    type: list
    elements: str
seealso:
  - plugin: dgxspark.vllm.service
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Show the addresses that Prometheus on this host scrapes
  ansible.builtin.debug:
    msg: "{{ lookup('dgxspark.vllm.scrape').targets | map(attribute='address') }}"
"""

RETURN = r"""
_value:
  description: One entry.
  type: list
  elements: dict
  contains:
    is_server:
      description: Whether the host runs Prometheus.
      type: bool
      sample: true
    is_lead:
      description: Whether the host is the first name of its machine in the group C(spark).
      type: bool
      sample: true
    listen:
      description: Address of the node exporter of the host. Empty if the host is not in the group C(spark).
      type: str
      sample: 127.0.0.1
    targets:
      description:
        - Targets of Prometheus on the host, each with C(job), V(vllm) or V(node), C(address), C(labels), C(key), which
          is whether vLLM requires its API key, and C(unit), the name of the host in the inventory.
      type: list
      elements: dict
      sample:
        - {job: vllm, unit: spark01, address: "127.0.0.1:8000", key: false,
           labels: {host: spark01, service: vllm, model: qwen3-8b-fp8}}
    problems:
      description: One line for each target that cannot be reached by these variables.
      type: list
      elements: str
      sample: []
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import Options, options_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan import names
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import ChoiceError, choose_model
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.inventory import Inventory, InventoryError, Server
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.nodes import is_worker
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.scrape import Unit, scrape

_READS = (
    *("vllm_service_name", "vllm_port", "vllm_publish_address", "vllm_api_key", "vllm_model", "vllm_models"),
    *("vllm_nodes", "monitoring_address", "monitoring_node_exporter_port"),
)


class LookupModule(LookupBase):
    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        known = variables or {}
        hosts = Inventory(known, self._templar)
        options = {**options_of("vllm"), **options_of("monitoring")}
        catalog = Catalog()
        units = [_unit(name, hosts, options, catalog) for name in hosts.group("spark")]
        named = [Server(name, hosts.machine(name)[0]) for name in hosts.group("monitoring")]
        return [scrape(known["inventory_hostname"], units, named)._asdict()]


def _unit(host: str, hosts: Inventory, options: Options, catalog: Catalog) -> Unit:
    try:
        typed = hosts.values(host, options, _READS)
    except InventoryError as error:
        raise AnsibleLookupError(f"scrape: {error}") from error
    try:
        model = choose_model(typed, catalog)
    except ChoiceError as error:
        raise AnsibleLookupError(f"scrape: {host}: {error}") from error
    machine, reached = hosts.machine(host)
    return Unit(
        name=host,
        machine=machine,
        service=typed["vllm_service_name"],
        model=model["name"],
        port=typed["vllm_port"],
        published="" if is_worker(host, typed) else names.address(typed),
        has_key=bool(typed["vllm_api_key"]),
        reached=reached,
        address=typed["monitoring_address"],
        node_port=typed["monitoring_node_exporter_port"],
    )
