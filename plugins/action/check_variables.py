# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a role's variables on the controller. The documentation stands in plugins/modules/check_variables.py."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import (
    Catalog,
    hint,
    read_specs,
    role_names,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.vllm_options import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.common import one_cache, unknown_source
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.conflicts import Service, clashes
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
            lines += self._check(role, task_vars or {})
        result.update(changed=False, problems=lines)
        if lines:
            result.update(failed=True, msg="\n".join(lines))
        return result

    def _check(self, role: str, task_vars: dict[str, t.Any]) -> list[str]:
        roles = role_names()
        if role not in roles:
            return [f"role: {role} is not a role of this collection; {hint(role, roles)}"]
        specs = read_specs(role)
        secrets = secrets_of(specs)
        # a role that was not loaded has no defaults here: those of its specification stand in, templates included
        variables = {**_defaults(specs), **task_vars}
        templar = self._templar.copy_with_new_env(available_variables=variables)
        values: dict[str, t.Any] = {}
        unreadable: dict[str, str] = {}
        for name in names_of(role, variables, roles):
            try:
                values[name] = plain(templar.template(variables[name]))
            except AnsibleError as error:
                unreadable[name] = f"{name}: cannot be read; {_reason(error, name in secrets)}"
        catalog = Catalog()
        is_spark = not self._allows_other_hardware(variables)
        lines = [*unreadable.values(), *problems(role, values, specs, catalog, unreadable, is_spark)]
        if role == "vllm":
            lines += self._clashes(task_vars)
        if role == "hf_cache":
            lines += unknown_source(values.get("hf_cache_source"), task_vars)
        # What downloads names its folder, and that is not the one which is prepared and cleaned.
        if role == "hf_cache" and "vllm_hf_cache" in task_vars and "hf_cache_download_path" not in task_vars:
            with contextlib.suppress(AnsibleError):  # what cannot be read, its own role says
                cache = plain(templar.template(task_vars["vllm_hf_cache"]))
                lines += one_cache(values.get("hf_cache_path"), cache)
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
        known = {"ansible_host": host, "ansible_port": "", **_defaults(read_specs("vllm")), **variables}
        templar = self._templar.copy_with_new_env(available_variables=known)
        try:
            address, ssh, name, port = (
                str(templar.template(known[key]))
                for key in ("ansible_host", "ansible_port", "vllm_service_name", "vllm_port")
            )
        except AnsibleError:
            return None
        return Service(host, f"{address} port {ssh}" if ssh else address, name, port)  # one address may lead to many


def _defaults(specs: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        name: trust_as_template(option["default"]) if isinstance(option["default"], str) else option["default"]
        for name, option in (specs["main"].get("options") or {}).items()
        if option.get("default") is not None
    }


def _reason(error: AnsibleError, secret: bool) -> str:
    """The first line of an error. Of a secret only what kind it is, unless it names an undefined variable."""
    if secret and not isinstance(error, AnsibleUndefinedVariable):
        return f"its template or vault gives {type(error).__name__}"
    return str(error).splitlines()[0].strip()
