#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies programs of this collection to a host, with the packages that they import."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_code
short_description: Copies programs of this collection to a host, where they run without Ansible
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Copies files and folders of this collection to C(ROOT/NAME) on the host. Their paths in the collection are kept,
    so that their imports (C(ansible_collections.dgxspark.vllm...)) work there as well.
  - C(python3 ROOT/NAME PROGRAM) runs a program, which is a file in the folder C(files) of a role.
  - Each O(name) is a link to a folder named after its content, and that folder is never edited. What is installed,
    upgraded or removed for one O(name) therefore does not affect another one. Names with the same content share a
    folder. A folder that no name uses is removed.
  - An upgrade takes effect at once. A program that starts during it gets either the old or the new code.
  - The action plugin of the same name reads the files. If the host has them already, they are not transferred.
options:
  name:
    description: What uses the code, such as the name of a systemd unit.
    type: str
    required: true
  state:
    description:
      - V(present) installs or upgrades the code.
      - V(absent) removes it.
    type: str
    choices: [present, absent]
    default: present
  paths:
    description: Files and folders, relative to the folder of the collection. Required with O(state=present).
    type: list
    elements: str
  root:
    description: Folder on the host for the code of all names.
    type: path
    default: /usr/local/lib/dgxspark
  files:
    description: SHA-256 hashes of the files. Set by the action plugin.
    type: dict
  contents:
    description: Contents of the files. Set by the action plugin if the host does not have them.
    type: dict
attributes:
  check_mode:
    support: full
    description: Can run in check mode.
  diff_mode:
    support: full
    description: Shows the files with their hashes before and after; of code that is removed, only its folder.
  idempotent:
    support: full
    description: A second run changes nothing.
notes:
  - Requires root.
  - Python must not write bytecode next to the code, so run programs with C(python3 -B).
"""

EXAMPLES = r"""
- name: Install the guard and the watchdog
  dgxspark.vllm.host_code:
    name: vllm
    paths:
      - plugins/module_utils/_vllm/api.py
      - roles/vllm/files/guard.py
      - roles/vllm/files/watchdog.py
  become: true

- name: Remove them
  dgxspark.vllm.host_code:
    name: vllm
    state: absent
  become: true
"""

RETURN = r"""
folder:
  description: Folder of the code, to be run with C(python3 -B FOLDER PROGRAM).
  returned: success
  type: str
  sample: /usr/local/lib/dgxspark/vllm
version:
  description: Identifier of the content. V(null) if there is none.
  returned: success
  type: str
  sample: 5a3c0f1e9b7d
"""

import os
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_code import Store, hashes_of, version_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem


def listing(files: t.Mapping[str, str]) -> str:
    return "".join(f"{path} {content[:12]}\n" for path, content in sorted(files.items()))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "paths": {"type": "list", "elements": "str"},
            "root": {"type": "path", "default": "/usr/local/lib/dgxspark"},
            "files": {"type": "dict"},
            "contents": {"type": "dict"},
        },
        required_if=[("state", "present", ["paths", "files"])],
        supports_check_mode=True,
    )
    asked = module.params
    name, contents = asked["name"], asked["contents"]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        module.fail_json(msg=f"name: {name!r} is not allowed; use letters, digits and . _ -")
    store = Store(asked["root"])
    folder = os.path.join(store.root, name)
    files = asked["files"] if asked["state"] == "present" else {}
    result: dict[str, t.Any] = {"folder": folder, "version": version_of(files) if files else None}
    try:
        changed = not store.is_right(name, files) if files else os.path.lexists(folder)
        result["changed"] = changed
        if changed and module._diff:
            before = listing(hashes_of(os.path.realpath(folder))) if files else f"{folder}\n"  # all of it goes
            result["diff"] = {"before": before, "after": listing(files), "before_header": folder}
        if changed and not module.check_mode:
            if not files:
                store.remove(name)
            elif contents:
                store.install(name, contents)
            else:
                result["incomplete"] = True  # the action plugin sends the contents
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, folder))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
