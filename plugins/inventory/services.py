# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: services
short_description: Divide a host of the inventory into its vLLM services
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Replaces each host with C(vllm_services) by one host for each of these services, and by a group with the name of the
    host. The service V(vllm-embed) of the host V(spark01) becomes V(spark01-vllm-embed) in the group V(spark01), so
    C(-l spark01) selects all services of that host, and C(-l spark01-vllm-embed) one of them.
  - A service has the groups and the variables of the host, and those of its entry in C(vllm_services). In the groups
    C(fabric), C(gateway) and C(monitoring) the first service stands for its host.
  - Hosts without C(vllm_services) stay as they are.
notes:
  - The file has to come after those with the hosts. Ansible reads the files of an inventory folder in the order of
    their names, and C(services.yml) comes after C(hosts.yml).
  - A list with an error leaves the host as it is. L(check_variables, module check_variables) then names the error.
options:
  plugin:
    description: Name of this plugin.
    type: str
    required: true
    choices: [dgxspark.vllm.services]
seealso:
  - module: dgxspark.vllm.check_variables
"""

EXAMPLES = r"""
# inventories/mine/services.yml
plugin: dgxspark.vllm.services

# inventories/mine/host_vars/spark01.yml
# vllm_services:
#   - name: vllm
#     vllm_model: qwen3-8b-fp8
#     vllm_gpu_memory_utilization: 0.45
#   - name: vllm-vision
#     vllm_model: qwen3-vl-8b-fp8
#     vllm_port: 8001
#     vllm_gpu_memory_utilization: 0.40
"""

import typing as t

from ansible.errors import AnsibleError
from ansible.inventory.data import InventoryData
from ansible.inventory.group import Group
from ansible.inventory.helpers import get_group_vars, sort_groups
from ansible.inventory.host import Host
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template
from ansible.utils.vars import combine_vars, load_extra_vars
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.services import LIST, ONCE, Part, parts, problems


class InventoryModule(BaseInventoryPlugin):
    NAME = "dgxspark.vllm.services"

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            divided = [found for host in list(inventory.hosts.values()) if (found := self._divided(host))]
        except AnsibleError:
            # A vault without its password, or broken YAML. The run reads the file next, and ends with that one line;
            # of an error here Ansible makes twenty, as it tries other plugins on this file, and goes on.
            return
        groups = {host.name: self._leave(host) for host, _services in divided}
        # the second services after all first ones: the batches of a play follow this order
        for turn in range(max((len(services) for _host, services in divided), default=0)):
            for host, services in divided:
                if turn < len(services):
                    self._add(services[turn], [name for name in groups[host.name] if turn == 0 or name not in ONCE])

    def _divided(self, host: Host) -> tuple[Host, list[Part]] | None:
        """The services of a host. None if it has no list, or a wrong one, which the check of the variables reports."""
        groups = sort_groups(host.get_groups())
        own = combine_vars(host.vars, self._from_files([host]))
        inherited = combine_vars(get_group_vars(groups), self._from_files(groups))
        known = {**inherited, **own, **load_extra_vars(self.loader)}
        listed = known.get(LIST)
        taken = {*self.inventory.hosts, *self.inventory.groups}
        if not listed or problems(host.name, listed, taken):
            return None
        name = trust_as_template(host.name)  # it comes from the inventory, as all variables do
        return host, parts(name, listed, own if "ansible_host" in known else {**own, "ansible_host": name})

    def _from_files(self, entities: list[t.Any]) -> dict[str, t.Any]:
        """Of host_vars and group_vars beside the inventory."""
        sources = self.inventory.processed_sources
        found: dict[str, t.Any] = get_vars_from_inventory_sources(self.loader, sources, entities, "all")
        return found

    def _leave(self, host: Host) -> list[str]:
        """A group takes the place of the host, without a warning if the name has a - or a dot. Returns its groups."""
        names = [group.name for group in self.inventory.groups.values() if host in group.hosts]
        self.inventory.remove_host(host)
        group = Group("services")
        group.name = host.name
        self.inventory.groups[group.name] = group
        self.inventory.add_child("all", group.name)
        return [*names, group.name]

    def _add(self, service: Part, groups: list[str]) -> None:
        self.inventory.add_host(service.host)
        for name, value in service.variables.items():
            self.inventory.set_variable(service.host, name, value)
        for group in groups:
            self.inventory.add_child(group, service.host)
