# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_report
short_description: Compare, show and store the results of benchmarks
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints a table of the results of M(dgxspark.vllm.vllm_benchmark) on each host, with what affects their validity.
  - Compares each cell with the same cell of the five latest earlier records of the same host, model and profile that
    were no regression. A change counts if it is larger than three times the spread of the repetitions, larger than 5 %
    (throughput) or 10 % (latency), and outside of all earlier values. With less than three repetitions these limits
    are three times as high.
  - Writes one JSON file per host, C(FOLDER/HOST/TIME-MODE.json), and plots of throughput and latency over the
    concurrency beside it. The plots need the Python library matplotlib on the controller; without it they are left out.
  - Runs on the controller and opens no connection. Use it with C(run_once).
  - Never fails because of the result of a host. RV(unhealthy) lists those with a regression or without a full result.
options:
  hosts:
    description: Names of the hosts, in the order of the output.
    type: list
    elements: str
    required: true
  results:
    description: Results of M(dgxspark.vllm.vllm_benchmark) by name of the host. C(msg) of one without runs is shown.
    type: dict
    required: true
  spark:
    description: RV(dgxspark.vllm.spark_info#module:spark) by name of the host.
    type: dict
    default: {}
  models:
    description:
      - Models that complete the catalog, as C(vllm_models), by name of the host. Roofline and published speed are those
        of the entry of the model that was measured.
    type: dict
    default: {}
  mode:
    description: Name of the set of cells, part of the names of the files.
    type: str
    required: true
  folder:
    description:
      - Folder on the controller. A relative path starts in the working directory of C(ansible-playbook). It is created
        if it does not exist. Nothing is written in check mode.
    type: str
    required: true
  claims:
    description:
      - Published throughputs, by Hugging Face ID of the model, as lists of mappings with C(concurrency),
        C(low), C(high) and C(source).
    type: dict
    default: {}
  export:
    description: Also print the speed of one stream as YAML for the entry of the model in the catalog.
    type: bool
    default: false
attributes:
  check_mode:
    support: partial
    description: Can run in check mode.
    details: Prints the same table, but writes no files.
  diff_mode:
    support: none
    description: There is no diff.
  idempotent:
    support: none
    description: Writes new files each time, and reports no change.
seealso:
  - module: dgxspark.vllm.vllm_benchmark
"""

EXAMPLES = r"""
- name: Compare, show and store
  dgxspark.vllm.benchmark_report:
    hosts: "{{ ansible_play_hosts_all }}"
    results: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'benchmark'))) }}"
    mode: quick
    folder: benchmarks
  run_once: true
  register: report

- name: Fail on the hosts that have become slower
  ansible.builtin.fail:
    msg: "{{ report.unhealthy[inventory_hostname] }}"
  when: inventory_hostname in report.unhealthy
"""

RETURN = r"""
table:
  description: The printed text.
  returned: on success
  type: str
unhealthy:
  description: Hosts with a regression, or that were not measured completely, with the reason in one line.
  returned: on success
  type: dict
  sample: {spark02: "slower than before, beyond noise: c64"}
files:
  description: Files that were written.
  returned: on success
  type: list
  elements: str
  sample: [benchmarks/spark01/2026-11-28T18-15-54Z-quick.json, benchmarks/spark01/2026-11-28T18-15-54Z-quick.svg]
records:
  description: The records, as written to the JSON files.
  returned: on success
  type: list
  elements: dict
"""
