# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_proposal
short_description: Propose the best of several measured profiles
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints a table of the profiles that were measured on a host, and selects the one with the highest throughput of a
    cell whose median latencies stay within the target. Another profile than O(current) is selected only if it is
    faster beyond the noise of the repetitions.
  - With a target, C(max_num_seqs) is lowered to the concurrency of that cell, so that more requests wait.
  - Writes it as variables for the inventory, C(FOLDER/HOST/tuned.yml), if it differs from O(current).
  - Runs on the controller and opens no connection.
options:
  host:
    description: Name of the host.
    type: str
    required: true
  records:
    description: RV(dgxspark.vllm.benchmark_report#module:records) of the host, one for each profile.
    type: list
    elements: dict
    required: true
  failed:
    description: Profiles that could not be measured, with the reason in one line.
    type: dict
    default: {}
  profiles:
    description: Profiles that complete the catalog, as C(vllm_profiles).
    type: dict
    default: {}
  current:
    description: Profile of the inventory.
    type: str
    required: true
  ttft_ms:
    description: Highest median time to the first token in milliseconds. V(0) is no limit.
    type: float
    default: 0
  tpot_ms:
    description: Highest median time for each further token in milliseconds. V(0) is no limit.
    type: float
    default: 0
  folder:
    description: Folder of the results on the controller, as for M(dgxspark.vllm.benchmark_report).
    type: str
    required: true
attributes:
  check_mode:
    support: none
    description: Needs measurements, which check mode does not make.
  diff_mode:
    support: none
    description: There is no diff.
  idempotent:
    support: full
    description: The same records give the same file. Writing it is not reported as a change.
seealso:
  - module: dgxspark.vllm.benchmark_report
"""

EXAMPLES = r"""
- name: Propose a profile for answers of at least 20 tokens per second
  dgxspark.vllm.benchmark_proposal:
    host: "{{ inventory_hostname }}"
    records: "{{ records }}"
    current: throughput
    tpot_ms: 50
    folder: benchmarks
"""

RETURN = r"""
profile:
  description: The selected profile. V(null) if none reaches the target.
  returned: success
  type: str
  sample: latency
reason:
  description: Why, in one line.
  returned: success
  type: str
args:
  description: Options of C(vllm serve) of the proposed profile.
  returned: success
  type: dict
  sample: {max_num_seqs: 16}
path:
  description: The file. V(null) if O(current) is the best one, or none reaches the target.
  returned: success
  type: str
  sample: benchmarks/spark01/tuned.yml
"""
