# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a role's variables on the controller. The documentation stands in plugins/modules/check_variables.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader, test_loader
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of, role_names
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.variables import read_variables, with_defaults
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.text import hint
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.types import TypedValues
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.yaml_files import preload
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.budget import Unread, budget
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.choice import ChoiceError, choose_model
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.inventory import Inventory, InventoryError, siblings
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.names import container, home
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.resolve import READS as RESOLVED
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.services import HOST
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.swap import GROUP, problem
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.conflicts import Service, clashes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.hf_cache import unknown_source
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.memory import SPARK
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.model import notices
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.mounts import unreadable_files
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.nodes import READS, Member, groups
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import names_of, problems, secrets_of
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.services import services

display = Display()
# Each task runs in a fork of the process that imports this. What is loaded here is not loaded again in each of them.
preload()
filter_loader.get("ansible.builtin.combine")  # and all other filters of Ansible; so the tests
test_loader.get("ansible.builtin.version")

# What decides where a service is.
_PLACES = (
    *("vllm_service_name", "vllm_port", "vllm_home", "vllm_container_name", "vllm_model", "vllm_models"),
    "hf_cache_path",
)


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "role": {"type": "list", "elements": "str", "required": True},
                "whole_groups": {"type": "bool", "default": False},
            }
        )
        lines: list[str] = []
        for role in args["role"]:
            # two roles may read the same variable
            found = self._check(role, task_vars or {}, args["whole_groups"])
            lines += [line for line in found if line not in lines]
        result.update(changed=False, problems=lines)
        if lines:
            result.update(failed=True, msg="\n".join(lines))
        return result

    def _check(self, role: str, task_vars: dict[str, t.Any], whole_groups: bool) -> list[str]:
        roles = role_names()
        if role not in roles:
            return [f"role: {role} is not a role of this collection; {hint(role, roles)}"]
        known = options_of(role)
        secrets = secrets_of(known)
        variables = with_defaults(known, task_vars)
        values, errors = read_variables(names_of(role, variables, roles, known), variables, self._templar)
        unreadable = {
            name: f"{name}: cannot be read; {_reason(error, name in secrets)}" for name, error in errors.items()
        }
        catalog = Catalog()
        is_spark = not self._allows_other_hardware(variables)
        lines = [*unreadable.values(), *problems(role, values, known, catalog, unreadable, is_spark)]
        if role == "vllm":
            own, taken = str(task_vars.get("inventory_hostname")), {*task_vars["hostvars"], *task_vars["groups"]}
            lines += services(own, task_vars, values.get("vllm_service_name"), taken)
            if is_spark and not lines:
                lines += self._budget(task_vars, catalog)
            if values.get(GROUP) and not lines:
                lines += self._swap_group(own, values, task_vars)
            lines += self._clashes(task_vars, catalog)
            lines += self._groups(task_vars, whole_groups)
            if not any(line.startswith("vllm_files") for line in lines):
                lines += unreadable_files(values.get("vllm_files") or [])
        if role == "hf_cache":
            lines += unknown_source(values.get("hf_cache_source"), task_vars)
        if not lines:
            for line in notices(role, values, catalog):
                display.warning(line)
        return lines

    def _allows_other_hardware(self, variables: dict[str, t.Any]) -> bool:
        """The switch of the role spark_host; what is wrong with its value is said there."""
        templar = self._templar.copy_with_new_env(available_variables=variables)
        try:
            return bool(
                boolean(templar.template(variables.get("spark_host_allow_other_hardware", False)), strict=False)
            )
        except AnsibleError:
            return False

    def _clashes(self, task_vars: dict[str, t.Any], catalog: Catalog) -> list[str]:
        """Of all hosts of the play; the first one looks for all, because reading their variables takes time."""
        play = list(task_vars.get("ansible_play_hosts_all") or [])
        if not play or task_vars["inventory_hostname"] != play[0]:
            return []
        inventory = Inventory(task_vars, self._templar)
        # those that one host lists belong together, whichever of them are chosen
        beside = (inventory.group(task_vars["hostvars"].raw_get(host).get(HOST) or "") for host in play)
        hosts = list(dict.fromkeys([*play, *(name for names in beside for name in names)]))
        read = (self._service(host, task_vars["hostvars"].raw_get(host), catalog) for host in hosts)
        return clashes([service for service in read if service])

    def _budget(self, task_vars: dict[str, t.Any], catalog: Catalog) -> list[str]:
        """Whether the services of this one's host fit into a Spark together, which the first one in the play says.

        Each says itself if its part cannot be told.
        """
        group = task_vars["groups"].get(task_vars.get(HOST) or "") or []
        options = options_of("vllm")
        values = siblings(task_vars, self._templar, options, [*RESOLVED, "vllm_enforce_memory_plan"])
        if not all(isinstance(each, Unread) or each["vllm_enforce_memory_plan"] for each in values):
            return []
        found = budget(values, catalog, SPARK)
        refused = found.refused.get(task_vars.get("vllm_service_name") or "")
        beside = [host for host in task_vars.get("ansible_play_hosts_all") or [] if host in group]
        of_all = found.problem if beside[:1] == [task_vars["inventory_hostname"]] else ""
        return [line for line in (refused, of_all) if line]

    def _swap_group(self, own: str, values: dict[str, t.Any], task_vars: dict[str, t.Any]) -> list[str]:
        beside = siblings(task_vars, self._templar, options_of("vllm"), [])
        line = problem(own, str(values[GROUP]), bool(values.get("vllm_nodes")), beside)
        return [line] if line else []

    def _groups(self, task_vars: dict[str, t.Any], whole: bool) -> list[str]:
        """Of all hosts of the play, with those that they name or that may name them; the first one looks, as above."""
        play = list(task_vars.get("ansible_play_hosts_all") or [])
        if not play or task_vars["inventory_hostname"] != play[0]:
            return []
        inventory, options = Inventory(task_vars, self._templar), options_of("vllm")
        named: dict[str, t.Any] = {}
        for host in dict.fromkeys([*play, *inventory.group("spark")]):
            named[host] = self._read(inventory, host, options, ["vllm_nodes"])
        every = [*named, *(str(name) for values in named.values() if values for name in values["vllm_nodes"])]
        if len(every) == len(named):
            return []
        reads = {
            host: self._read(inventory, host, options, READS) for host in dict.fromkeys(every) if host in inventory
        }
        return list(
            groups({host: Member(host, values) for host, values in reads.items() if values}, play, inventory, whole)
        )

    def _read(
        self, inventory: Inventory, host: str, options: dict[str, t.Any], names: t.Sequence[str]
    ) -> TypedValues | None:
        try:
            return inventory.values(host, options, names)
        except InventoryError:  # a host of the play says itself what is wrong
            return None

    def _service(self, host: str, variables: dict[str, t.Any], catalog: Catalog) -> Service | None:
        """What a host of the play is going to serve where; None if it cannot be read, which the host says itself."""
        options = options_of("vllm")
        known = {"ansible_host": host, "ansible_port": "", **with_defaults(options, variables)}
        names = [name for name in (*_PLACES, "ansible_host", "ansible_port") if name in known]
        values, errors = read_variables(names, known, self._templar)
        typed, wrong = TypedValues.of(options, values)
        try:
            model = choose_model(typed, catalog)
        except ChoiceError:
            return None
        if errors or wrong:
            return None
        address, ssh = values["ansible_host"], values["ansible_port"]
        return Service(
            host=host,
            machine=f"{address} port {ssh}" if ssh else str(address),  # one address may lead to many
            name=typed["vllm_service_name"],
            port=str(typed["vllm_port"]),
            home=home(typed),
            container=container(typed, model),
            cache=typed["hf_cache_path"],
        )


def _reason(error: AnsibleError, secret: bool) -> str:
    """The first line of an error. Of a secret only what kind it is, unless it names an undefined variable."""
    if secret and not isinstance(error, AnsibleUndefinedVariable):
        return f"its template or vault gives {type(error).__name__}"
    return str(error).splitlines()[0].strip()
