# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: fabric_report
short_description: Show the measurements of the links between Sparks
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints a table with each rail of each link, and warns about slow ones.
  - A rail is slow if it has less than 80 Gb/s by C(ib_write_bw), or less than 80 % (TCP, 50 %) of the fastest one.
  - So is one whose latency by C(ib_write_lat) is above 5 µs and more than twice the lowest. Where there is no RDMA, a
    ping counts that is above 0.5 ms and more than three times the lowest.
  - Fails if a rail does not work, which is, no answer, lost packets, packets that reach another interface, or no
    measurement.
  - The table is not printed with the callbacks C(json), C(jsonl) and C(null), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it on one host.
options:
  checks:
    description: RV(dgxspark.vllm.fabric_plan#filter:_value), its C(checks).
    type: list
    elements: dict
    required: true
  results:
    description: Results of M(dgxspark.vllm.fabric_measure) of all hosts.
    type: list
    elements: dict
    required: true
  notices:
    description: Other lines to warn about.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.fabric_measure
  - plugin: dgxspark.vllm.fabric_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the links
  dgxspark.vllm.fabric_report:
    checks: "{{ plan.checks }}"
    results: "{{ ansible_play_hosts_all | map('extract', hostvars, ['measured', 'results']) | flatten }}"
  run_once: true
"""

RETURN = r"""
problems:
  description: One line for each rail that does not work.
  returned: always
  type: list
  elements: str
  sample: ["spark01 to spark02, rail 1: no answer from 192.168.101.2: is it the cable, or the other port?"]
slow:
  description: One line for each slow rail.
  returned: always
  type: list
  elements: str
  sample: ["spark01 to spark02, rail 1: slow: 80 Gb/s and more are expected of a rail"]
"""
