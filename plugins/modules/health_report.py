# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: health_report
short_description: Show the health of all hosts in one table
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints one table of the results of M(dgxspark.vllm.vllm_health) and M(dgxspark.vllm.spark_info) on each host. Below
    it are cause and remedy for each host that is not ready, and notes that do not affect the verdict.
  - The table is printed directly, so it looks the same with every callback. It is not printed with the callbacks
    C(json), C(jsonl) and C(null), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it with C(run_once).
  - Never fails because of the state of a host. RV(unhealthy) lists the hosts that are not ready.
options:
  hosts:
    description: Names of the hosts, in the order of the table.
    type: list
    elements: str
    required: true
  health:
    description:
      - Results of M(dgxspark.vllm.vllm_health) by name of the host.
      - A host is V(unreachable) if its result has C(unreachable), and V(unknown) if it has no result or no verdict.
        C(msg) of the result is shown.
    type: dict
    required: true
  spark:
    description: RV(dgxspark.vllm.spark_info#module:spark), or V(null), by name of the host.
    type: dict
    default: {}
  wanted:
    description:
      - Model, image and release of the inventory by name of the host. Mappings with C(model), C(image) and C(release),
        or V(null).
      - C(nodes) are the names of the hosts that serve the model together, the head first. A worker that is connected is
        reported as its head is.
      - C(beside) are the names of services that run on the host and that no host of the inventory stands for, and
        C(share) says what other services of the host leave of the memory. Both are for notes.
    type: dict
    default: {}
  faults:
    description:
      - Known faults of the kernel or the driver by name of the host, as the lookup plugin
        P(dgxspark.vllm.service#lookup) returns them in C(host_faults).
    type: dict
    default: {}
  query:
    description:
      - JMESPath expression that is applied to the list C(hosts) of RV(report).
      - The result is printed as JSON instead of the table, and written to O(path) instead of RV(report).
      - Requires the Python library jmespath on the controller.
      - If O(hosts) is empty, the expression is checked and nothing is printed.
    type: str
    default: ""
  path:
    description:
      - File on the controller to which RV(report) is written as JSON. Its folder must exist. A relative path starts in
        the working directory of C(ansible-playbook).
      - The file is replaced atomically. It is not written in check mode.
      - If O(hosts) is empty, it is checked whether the file can be written, and nothing is.
    type: str
    default: ""
attributes:
  check_mode:
    support: partial
    description: Can run in check mode.
    details: Prints the same table, but does not write O(path).
  diff_mode:
    support: none
    description: There is no diff.
  idempotent:
    support: full
    description: Changes nothing. Writing O(path) is not reported as a change, because its content differs each time.
seealso:
  - module: dgxspark.vllm.vllm_health
  - module: dgxspark.vllm.spark_info
"""

EXAMPLES = r"""
- name: Show all hosts of the play
  dgxspark.vllm.health_report:
    hosts: "{{ ansible_play_hosts_all }}"
    health: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'health'))) }}"
    path: health.json
  run_once: true
  register: fleet

- name: Show the cause of each host that is not ready
  dgxspark.vllm.health_report:
    hosts: "{{ ansible_play_hosts_all }}"
    health: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'health'))) }}"
    query: "[?verdict!='ready'].{host: host, cause: cause.id}"
  run_once: true

- name: Fail on the hosts that are not ready
  ansible.builtin.fail:
    msg: not ready
  when: inventory_hostname in fleet.unhealthy
"""

RETURN = r"""
table:
  description: The printed text.
  returned: on success
  type: str
  sample: |-
    host     verdict  model         image           since      run  wait   KV  prefix  preempt  tok/s  GPU °C   MHz ...
    spark01  ready    Qwen/Qwen3... vllm:25.09-py3  2 h 5 min    8     0  3 %    71 %        0    402      68  2418 ...

    1 host: 1 ready
unhealthy:
  description: Names of the hosts that are not ready.
  returned: on success
  type: list
  elements: str
  sample: [spark02]
exit_code:
  description:
    - V(0) if all hosts are ready and run what the inventory wants, V(2) if one is not ready, V(3) if one runs something
      else, V(4) if one is unreachable. The callback P(dgxspark.vllm.brief#callback) ends C(ansible-playbook) with it.
  returned: on success
  type: int
  sample: 2
selected:
  description: Result of O(query). V(null) if O(hosts) is empty.
  returned: success and O(query) is set
  type: raw
  sample: [{host: spark02, cause: oom_killed}]
report:
  description: The report as data, as written to O(path). Unknown values are V(null).
  returned: on success
  type: dict
  contains:
    time: {description: Time of the report (UTC)., type: str, sample: "2026-11-23T15:04:05Z"}
    verdicts: {description: Number of hosts by verdict., type: dict, sample: {ready: 15, failed: 1}}
    unhealthy: {description: As RV(unhealthy)., type: list, elements: str, sample: [spark02]}
    hosts:
      description: The hosts, in the order of O(hosts).
      type: list
      elements: dict
      contains:
        host: {description: Name., type: str, sample: spark01}
        verdict:
          description: Verdict of M(dgxspark.vllm.vllm_health), V(unreachable), or V(unknown) if the check failed.
          type: str
          sample: ready
        summary: {description: Verdict and cause in one line., type: str, sample: ready}
        phase: {description: Phase of the start., type: str, sample: load}
        percent: {description: Percentage of the phase., type: int, sample: 50}
        idle_seconds: {description: Seconds since the last log line or downloaded byte., type: float, sample: 3.2}
        cause: {description: "Why it is not ready: id, meaning, remedy, evidence, link, change.", type: dict}
        previous_cause: {description: Cause of the failure of the previous start., type: dict}
        hint: {description: Likely reason for a slow start., type: dict}
        model: {description: Served model., type: str, sample: Qwen/Qwen3-8B-FP8}
        wanted_model: {description: Model of the inventory., type: str, sample: Qwen/Qwen3-8B-FP8}
        image: {description: Image of the container., type: str, sample: "nvcr.io/nvidia/vllm:25.09-py3"}
        wanted_image: {description: Image of the inventory., type: str, sample: "nvcr.io/nvidia/vllm:25.09-py3"}
        profile: {description: Profile of the running release., type: str, sample: throughput}
        release: {description: Running release., type: str, sample: 3f1c9a0b7d2e}
        wanted_release: {description: Release of the inventory., type: str, sample: 3f1c9a0b7d2e}
        vllm_version: {description: Version of vLLM., type: str, sample: 0.10.1.1}
        kv_cache_tokens: {description: Size of the KV cache in tokens., type: int, sample: 623104}
        planned_tokens:
          {description: Size of the KV cache in the memory plan of the running release., type: int, sample: 640000}
        since: {description: Start time of the running container., type: str, sample: "2026-11-23T13:00:00.5Z"}
        since_seconds: {description: Seconds since then., type: int, sample: 7445}
        running: {description: Running requests., type: int, sample: 8}
        waiting: {description: Waiting requests., type: int, sample: 0}
        kv_cache_usage: {description: Share of the KV cache in use (0 to 1)., type: float, sample: 0.03}
        prefix_cache_hit_rate: {description: Hits per query since the start (0 to 1)., type: float, sample: 0.71}
        preemptions: {description: Preempted requests since the start., type: int, sample: 0}
        generation_tokens_per_second: {description: Tokens generated per second., type: float, sample: 402.5}
        prompt_tokens_per_second: {description: Prompt tokens per second., type: float, sample: 1890.0}
        gpu_temperature_c: {description: Temperature of the GPU in °C., type: int, sample: 68}
        gpu_sm_clock_mhz: {description: SM clock in MHz., type: int, sample: 2418}
        gpu_utilization_percent: {description: Utilization of the GPU., type: int, sample: 96}
        gpu_throttled: {description: V(null) if the utilization is too low for a verdict., type: bool, sample: false}
        driver: {description: Version of the GPU driver., type: str, sample: 580.95.05}
        firmware: {description: As returned by M(dgxspark.vllm.spark_info)., type: dict, sample: {dgx_os: 7.3.1}}
        memory_available_bytes: {description: Available memory of the host., type: int, sample: 12884901888}
    notes:
      description: Notes that do not affect the verdict.
      type: list
      elements: dict
      contains:
        id: {description: Short name., type: str, sample: driver_drift}
        hosts: {description: Affected hosts., type: list, elements: str, sample: [spark03]}
        meaning: {description: The observation., type: str}
        remedy: {description: What to do., type: str}
        evidence: {description: Line of the kernel log or reading of a sensor that shows it., type: str}
        link: {description: Page with the details., type: str, sample: "docs/troubleshooting.md#driver_drift"}
"""
