# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: swap_turn
short_description: Determine which service of a swap group has its turn
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - The unit that runs has it, or else the one that is enabled and so comes back with the host.
positional: own
options:
  _input:
    description:
      - Output of C(systemctl show --property=Id,ActiveState) and C(systemctl list-unit-files --no-legend --plain) for
        all units of the group.
    type: str
    required: true
  own:
    description: Unit that is preferred if several qualify.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show which service has its turn
  ansible.builtin.debug:
    msg: "{{ (shown.stdout | dgxspark.vllm.swap_turn('vllm.service')).unit }}"
"""

RETURN = r"""
_value:
  description: The turn, and what it follows from.
  type: dict
  contains:
    unit: {description: Name of the unit that has its turn. Empty if none has., type: str, sample: vllm-coder.service}
    running: {description: Units that run., type: list, elements: str, sample: [vllm-coder.service]}
    enabled: {description: Units that come back with the host., type: list, elements: str, sample: [vllm-coder.service]}
"""

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.turn import states, turn


def swap_turn(shown: t.Any, own: t.Any) -> dict[str, t.Any]:
    return turn(str(own), states(str(shown)))._asdict()


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"swap_turn": swap_turn}
