# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: log_lines_report
short_description: Show the logs of all hosts as one
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints the results of M(dgxspark.vllm.vllm_log_lines_info) on all hosts in the order of time, each line with its
    host, and a line for each host that has nothing to show.
  - The lines are not printed with the callbacks C(json), C(jsonl) and C(null), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it with C(run_once).
options:
  logs:
    description: Results of M(dgxspark.vllm.vllm_log_lines_info) by name of the host.
    type: dict
    required: true
  problems:
    description: Why a result is missing, by name of the host.
    type: dict
    default: {}
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.vllm_log_lines_info
"""

EXAMPLES = r"""
- name: Show the logs of all hosts of the play
  dgxspark.vllm.log_lines_report:
    logs: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'log'))) }}"
  run_once: true
"""

RETURN = r"""
lines:
  description: All lines in the order of time.
  returned: on success
  type: list
  elements: dict
  sample:
    - host: spark01
      time: "2026-11-29T05:01:02"
      text: "(APIServer pid=1) INFO 11-29 05:01:02 [api_server.py:1971] vLLM API server version 0.32.0"
"""
