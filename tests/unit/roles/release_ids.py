# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of releases, as the role makes them from its own variables and templates.

A program of its own, because Ansible's loader of plugins cannot be taken back. Gets a JSON list of [variables, host],
prints a JSON list of names.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.template import Templar

    init_plugin_loader()  # from here on it is what finds ansible_collections

    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.specs import ROLES

    role = ROLES / "vllm"
    loader = DataLoader()
    defaults = loader.load_from_file(str(role / "defaults/main.yml"), trusted_as_template=True)
    derived = loader.load_from_file(str(role / "vars/main.yml"), trusted_as_template=True)
    (resolve,) = role.glob("tasks/**/resolve.yml")
    (task,) = loader.load_from_file(str(resolve), trusted_as_template=True)
    names = []
    for user, host in json.loads(sys.argv[1]):
        variables = {**defaults, **derived, "ansible_search_path": [str(role)], "__dgxspark": {"spark": host}, **user}
        facts = Templar(loader=loader, variables=variables).template(task["ansible.builtin.set_fact"])
        templar = Templar(loader=loader, variables={**variables, **facts})
        names.append(str(templar.resolve_variable_expression("__vllm_release_id")))
    json.dump(names, sys.stdout)


if __name__ == "__main__":
    main()
