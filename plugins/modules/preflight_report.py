#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight_report
short_description: Show the checks that precede a deployment
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints one list of the checks of all hosts, failures first. Hosts with the same result share a line.
  - The list is printed directly, so it looks the same with every callback. It is not printed with the callbacks
    C(json), C(jsonl) and C(null), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it with C(run_once).
  - Never fails because of a check. RV(failed_hosts) lists the hosts on which a deployment would fail.
options:
  hosts:
    description:
      - Checks by name of the host, in the order of the list. Each is a mapping with C(check), its name, C(result),
        which is V(ok), V(warning), V(failed) or V(not checked), and C(text); or C(needs), a list of the checks that
        failed and that it needs, instead of C(text).
      - If it is empty, O(query) and O(path) are checked and nothing is printed.
    type: dict
    required: true
  query:
    description:
      - JMESPath expression that is applied to the list C(checks) of RV(report).
      - The result is printed as JSON instead of the list, and written to O(path) instead of RV(report).
      - Requires the Python library jmespath on the controller.
    type: str
    default: ""
  path:
    description:
      - File on the controller to which RV(report) is written as JSON. Its folder must exist. A relative path starts in
        the working directory of C(ansible-playbook). The file is replaced atomically.
    type: str
    default: ""
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.health_report
"""

EXAMPLES = r"""
- name: Show the checks of all hosts of the play
  dgxspark.vllm.preflight_report:
    hosts: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'checks'))) }}"
    path: preflight.json
  run_once: true
  register: preflight

- name: Fail on the hosts that cannot be deployed to
  ansible.builtin.fail:
    msg: a check failed
  when: inventory_hostname in preflight.failed_hosts
"""

RETURN = r"""
failed_hosts:
  description: Names of the hosts on which a check failed, or that have no checks at all.
  returned: on success
  type: list
  elements: str
  sample: [spark02]
selected:
  description: Result of O(query). V(null) if O(hosts) is empty.
  returned: success and O(query) is set
  type: raw
  sample: [{host: spark02, check: port}]
report:
  description: The report as data, as written to O(path).
  returned: on success
  type: dict
  contains:
    time: {description: Time of the report (UTC)., type: str, sample: "2026-11-23T15:04:05Z"}
    failed: {description: As RV(failed_hosts)., type: list, elements: str, sample: [spark02]}
    checks:
      description: The checks, host by host.
      type: list
      elements: dict
      contains:
        host: {description: Name of the host., type: str, sample: spark02}
        check: {description: Name of the check., type: str, sample: port}
        result: {description: "V(ok), V(warning), V(failed) or V(not checked).", type: str, sample: failed}
        text:
          description: What was found, and the remedy.
          type: str
          sample: Port 8000 is held by nginx (pid 812), which is not a vLLM server in a container. Stop it, or set
            vllm_port to a free port
        needs:
          description: Names of the checks that it needs and that have no result. Empty if it could be made.
          type: list
          elements: str
          sample: []
"""
