# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_watch
short_description: Show the health of all hosts in a table that is redrawn
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Calls M(dgxspark.vllm.vllm_health) and M(dgxspark.vllm.spark_info) on each host at an interval, and redraws one
    table of all hosts in the terminal until it is interrupted.
  - All hosts are asked at the same time, each over its own connection, so a host that hangs does not delay the others.
    Its row stays, and the seconds since its last answer are shown.
  - If the output is not a terminal, or on a controller without F(/proc), one table is printed for each interval.
  - Requires as many forks as there are hosts in the play, and a callback that prints text.
options:
  hosts:
    description: Names of the hosts, in the order of the table. If it is empty, only the options are checked.
    type: list
    elements: str
    required: true
  check:
    description: Options of M(dgxspark.vllm.vllm_health) for this host.
    type: dict
    default: {}
  problem:
    description: Why this host cannot be asked. It is then shown instead of the answer.
    type: str
    default: ""
  wanted:
    description: Model and image of the inventory for this host, as a mapping with C(model) and C(image).
    type: dict
    default: {}
  interval:
    description: Seconds from one question to the next, at least 1.
    type: float
    default: 5.0
  count:
    description: Number of questions to each host. V(0) asks until it is interrupted.
    type: int
    default: 0
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.health_report
"""

EXAMPLES = r"""
- name: Watch all hosts of the play
  dgxspark.vllm.fleet_watch:
    hosts: "{{ ansible_play_hosts_all }}"
    check:
      container: vllm-qwen3-8b-fp8
      service: vllm
      sample_seconds: 1
  become: true
"""

RETURN = r"""
rounds:
  description: Number of questions to this host.
  returned: success and O(hosts) is not empty
  type: int
  sample: 3
"""
