#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determines which service of a swap group has its turn."""

from __future__ import annotations

DOCUMENTATION = r"""
module: swap_turn_info
short_description: Determines which service of a swap group has its turn
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Asks systemd for the units of services that take turns. The unit that runs has its turn, or else the one that is
    enabled and so comes back with the host.
options:
  unit:
    description: Unit of one of the services, which is preferred if several qualify.
    type: str
    required: true
  others:
    description: Units of the others. They may not be there yet.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.vllm_health
"""

EXAMPLES = r"""
- name: Read whose turn it is
  dgxspark.vllm.swap_turn_info:
    unit: vllm.service
    others: [vllm-coder.service]
  register: turn

- name: Show it
  ansible.builtin.debug:
    msg: "{{ turn.unit or 'none' }}"
"""

RETURN = r"""
unit:
  description: Name of the unit that has its turn. Empty if none has.
  returned: success
  type: str
  sample: vllm-coder.service
running:
  description: Units that run.
  returned: success
  type: list
  elements: str
  sample: [vllm-coder.service]
enabled:
  description: Units that come back with the host.
  returned: success
  type: list
  elements: str
  sample: [vllm-coder.service]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.turn import commands, states, turn
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.text import plain


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "others": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    own = module.params["unit"]
    answers = [module.run_command(command) for command in commands([own, *module.params["others"]])]
    found = states("\n".join(out for _rc, out, _err in answers))
    if own not in found:  # the exit codes say less: the files of the units may not be there yet
        rc, _out, err = answers[0]
        module.fail_json(msg=f"systemd does not tell the state of {own}: {plain(err).strip() or f'exit code {rc}'}")
    module.exit_json(**turn(own, found)._asdict())


if __name__ == "__main__":
    main()
