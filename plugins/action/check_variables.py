# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a role's variables on the controller. The documentation stands in plugins/modules/check_variables.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import options_of, role_names
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.variables import read_variables, with_defaults
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.text import hint
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.conflicts import Service, clashes
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.hf_cache import unknown_source
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.model import notices
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.problems import names_of, problems, secrets_of

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec({"role": {"type": "list", "elements": "str", "required": True}})
        lines: list[str] = []
        for role in args["role"]:
            # two roles may read the same variable
            lines += [line for line in self._check(role, task_vars or {}) if line not in lines]
        result.update(changed=False, problems=lines)
        if lines:
            result.update(failed=True, msg="\n".join(lines))
        return result

    def _check(self, role: str, task_vars: dict[str, t.Any]) -> list[str]:
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
            lines += self._clashes(task_vars)
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

    def _clashes(self, task_vars: dict[str, t.Any]) -> list[str]:
        """Of all hosts of the play; the first one looks for all, because reading their variables takes time."""
        hosts = list(task_vars.get("ansible_play_hosts_all") or [])
        if len(hosts) < 2 or task_vars["inventory_hostname"] != hosts[0]:
            return []
        services = [service for host in hosts if (service := self._service(host, task_vars["hostvars"].raw_get(host)))]
        return clashes(services)

    def _service(self, host: str, variables: dict[str, t.Any]) -> Service | None:
        """What a host of the play is going to serve where; None if it cannot be read, which the host says itself."""
        known = {"ansible_host": host, "ansible_port": "", **with_defaults(options_of("vllm"), variables)}
        templar = self._templar.copy_with_new_env(available_variables=known)
        try:
            address, ssh, name, port = (
                str(templar.template(known[key]))
                for key in ("ansible_host", "ansible_port", "vllm_service_name", "vllm_port")
            )
        except AnsibleError:
            return None
        return Service(host, f"{address} port {ssh}" if ssh else address, name, port)  # one address may lead to many


def _reason(error: AnsibleError, secret: bool) -> str:
    """The first line of an error. Of a secret only what kind it is, unless it names an undefined variable."""
    if secret and not isinstance(error, AnsibleUndefinedVariable):
        return f"its template or vault gives {type(error).__name__}"
    return str(error).splitlines()[0].strip()
