#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creates and removes the key pair for one copy of a model."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_cache_copy_key
short_description: Creates and removes the key pair for one copy of a model from another host
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Creates an SSH key pair on the host that copies a model. M(dgxspark.vllm.hf_cache_export) on the source accepts its
    public half, and M(dgxspark.vllm.hf_cache_copy) uses the private half and removes the key pair afterwards.
  - The key pair is stored in memory (C(/run)), in a folder that only root can read.
options:
  state:
    description:
      - V(present) creates a new key pair.
      - V(absent) removes the one in O(key_folder).
    type: str
    choices: [present, absent]
    default: present
  key_folder:
    description: Folder of the key pair, as returned in RV(key_folder). Required with O(state=absent).
    type: path
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
    details: Creates no key pair and returns none.
  diff_mode:
    description: There is nothing to compare.
    support: none
  idempotent:
    description: A second run changes nothing.
    support: partial
    details: Each call with O(state=present) creates another key pair.
notes:
  - Requires root and ssh-keygen.
seealso:
  - module: dgxspark.vllm.hf_cache_copy
  - module: dgxspark.vllm.hf_cache_export
"""

EXAMPLES = r"""
- name: Create a key pair
  dgxspark.vllm.hf_cache_copy_key:
  become: true
  register: key

- name: Remove it
  dgxspark.vllm.hf_cache_copy_key:
    state: absent
    key_folder: "{{ key.key_folder }}"
  become: true
"""

RETURN = r"""
public_key:
  description: Public half of the key pair.
  returned: O(state=present), but not in check mode
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample
key_folder:
  description: Folder of the key pair.
  returned: O(state=present), but not in check mode
  type: str
  sample: /run/dgxspark-copy/k3j2h1
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import copy
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem


def create(module: AnsibleModule) -> dict[str, str]:
    keygen = module.get_bin_path("ssh-keygen", required=True)
    os.makedirs(copy.KEYS, mode=0o700, exist_ok=True)
    folder = tempfile.mkdtemp(dir=copy.KEYS)
    module.run_command([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{folder}/key"], check_rc=True)
    with open(f"{folder}/key.pub", encoding="ascii") as file:
        return {"public_key": file.read().strip(), "key_folder": folder}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "key_folder": {"type": "path", "no_log": False},
        },
        required_if=[("state", "absent", ["key_folder"])],
        supports_check_mode=True,
    )
    folder: str = module.params["key_folder"]
    try:
        if module.params["state"] == "present":
            module.exit_json(changed=True, **({} if module.check_mode else create(module)))
        if not copy.is_key_folder(folder):
            module.fail_json(msg=f"key_folder: {folder} is not allowed; use what hf_cache_copy_key returned")
        there = os.path.isdir(folder)
        if there and not module.check_mode:
            copy.remove_key(folder)
        module.exit_json(changed=there)
    except OSError as error:
        module.fail_json(msg=os_problem.one_line(error, copy.KEYS))


if __name__ == "__main__":
    main()
