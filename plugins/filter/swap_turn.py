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
  - Returns the unit that runs, or else the one that is enabled and so comes back with the host.
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
    msg: "{{ shown.stdout | dgxspark.vllm.swap_turn('vllm.service') }}"
"""

RETURN = r"""
_value:
  description: Name of the unit. Empty if none has its turn.
  type: str
  sample: vllm-coder.service
"""

import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.turn import on_turn, states


def swap_turn(shown: t.Any, own: t.Any) -> str:
    return on_turn(str(own), states(str(shown)))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"swap_turn": swap_turn}
