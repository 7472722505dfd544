# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_page
short_description: Write one self-contained HTML page about all hosts
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Renders the report of M(dgxspark.vllm.health_report) with the releases and the model cache of each host as one HTML
    page, with a card for each host, the open findings with their remedies, and the release history.
  - The page has no script, loads nothing from the network, follows the light or dark setting of the browser, and can be
    printed.
  - Runs on the controller and opens no connection. Use it with C(run_once).
  - Never fails because of the state of a host. RV(unhealthy) lists the hosts that are not ready.
options:
  hosts:
    description: Names of the hosts, in the order of the page. If it is empty, only O(path) is checked.
    type: list
    elements: str
    required: true
  health:
    description: As O(dgxspark.vllm.health_report#module:health).
    type: dict
    required: true
  spark:
    description: As O(dgxspark.vllm.health_report#module:spark).
    type: dict
    default: {}
  wanted:
    description: As O(dgxspark.vllm.health_report#module:wanted).
    type: dict
    default: {}
  faults:
    description: As O(dgxspark.vllm.health_report#module:faults).
    type: dict
    default: {}
  releases:
    description: Results of M(dgxspark.vllm.vllm_releases_info), or V(null), by name of the host.
    type: dict
    default: {}
  caches:
    description: Results of M(dgxspark.vllm.hf_cache_info), or V(null), by name of the host.
    type: dict
    default: {}
  problems:
    description: Why O(releases) and O(caches) could not be read, by name of the host.
    type: dict
    default: {}
  path:
    description:
      - File on the controller. Its folder must exist. A relative path starts in the working directory of
        C(ansible-playbook).
      - The file is replaced atomically. It is not written in check mode.
    type: str
    required: true
  benchmarks:
    description:
      - Folder of M(dgxspark.vllm.benchmark_report) on the controller. The page shows the plots of the latest benchmark
        of each host.
    type: str
  mode:
    description: Mode of the file, as four octal digits.
    type: str
    default: "0600"
attributes:
  check_mode:
    support: partial
    description: Can run in check mode.
    details: Renders the page, but does not write O(path).
  diff_mode:
    support: none
    description: There is no diff.
  idempotent:
    support: full
    description: Changes no host. Writing O(path) is not reported as a change, because its content differs each time.
notes:
  - Tokens of the Hugging Face hub, passwords in addresses and signatures of addresses are replaced by C(***).
seealso:
  - module: dgxspark.vllm.health_report
  - module: dgxspark.vllm.vllm_releases_info
  - module: dgxspark.vllm.hf_cache_info
"""

EXAMPLES = r"""
- name: Write a page about all hosts of the play
  dgxspark.vllm.fleet_page:
    hosts: "{{ ansible_play_hosts_all }}"
    health: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'health'))) }}"
    path: report.html
  run_once: true
"""

RETURN = r"""
path:
  description: Absolute path of the file.
  returned: on success
  type: str
  sample: /home/operator/report.html
bytes:
  description: Size of the page. V(null) if O(hosts) is empty.
  returned: on success
  type: int
  sample: 21840
unhealthy:
  description: Names of the hosts that are not ready.
  returned: on success
  type: list
  elements: str
  sample: [spark02]
"""
