# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The documentation of the action plugin of the same name, which does the work on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: health_report
short_description: Show the health of a whole fleet as one table
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Takes what M(dgxspark.vllm.vllm_health) and M(dgxspark.vllm.spark_info) said of each host, and prints one table.
    Below it are cause and remedy for each host that is not ready, and notes on what is worth a word beside that.
  - The table is printed itself, not as a result, so that it looks the same with every callback. It is not printed when
    the output is meant for programs (callbacks C(json), C(jsonl) and C(null)), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it with C(run_once).
  - Never fails because of the state of a host. RV(unhealthy) names the hosts to fail for.
options:
  hosts:
    description: Names of the hosts, in the order in which they are shown.
    type: list
    elements: str
    required: true
  health:
    description:
      - By name of the host, the result of M(dgxspark.vllm.vllm_health).
      - A result with C(unreachable) makes the host V(unreachable), one without verdict, or none at all, V(unknown). Its
        C(msg) is shown.
    type: dict
    required: true
  spark:
    description: By name of the host, RV(dgxspark.vllm.spark_info#module:spark), or V(null).
    type: dict
    default: {}
  wanted:
    description: By name of the host, what the inventory wants. A mapping with C(model) and C(image), or V(null).
    type: dict
    default: {}
  query:
    description:
      - JMESPath expression that selects and shapes what is shown. It is applied to the list C(hosts) of RV(report).
      - The result is printed as JSON instead of the table, and O(path) gets it instead of RV(report).
      - Needs the Python library jmespath on the controller.
      - If O(hosts) is empty, the expression is checked and nothing is printed.
    type: str
    default: ""
  path:
    description:
      - File on the controller that gets RV(report) as JSON. Its folder must exist. A relative path begins in the folder
        from which the playbook was started.
      - The file is replaced as a whole. In check mode it is not written.
    type: str
    default: ""
attributes:
  check_mode:
    support: partial
    description: Can run in check mode.
    details: Shows the same and writes no file.
  diff_mode:
    support: none
    description: There is nothing to compare.
  idempotent:
    support: full
    description: Changes nothing. The file of O(path) is a measurement that differs each time, and counts as no change.
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

- name: Fail for those that are not ready
  ansible.builtin.fail:
    msg: not ready
  when: inventory_hostname in fleet.unhealthy
"""

RETURN = r"""
table:
  description: The text that is printed.
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
selected:
  description: What O(query) selects. V(null) if O(hosts) is empty.
  returned: success and O(query) is set
  type: raw
  sample: [{host: spark02, cause: oom_killed}]
report:
  description: The same as data. This is what the file holds. What is not known is V(null).
  returned: on success
  type: dict
  contains:
    time: {description: When it was made (UTC)., type: str, sample: "2026-11-23T15:04:05Z"}
    verdicts: {description: How many hosts have which verdict., type: dict, sample: {ready: 15, failed: 1}}
    unhealthy: {description: As RV(unhealthy)., type: list, elements: str, sample: [spark02]}
    hosts:
      description: The hosts, in the order of O(hosts).
      type: list
      elements: dict
      contains:
        host: {description: Name., type: str, sample: spark01}
        verdict:
          description: As that of M(dgxspark.vllm.vllm_health), or V(unreachable), or V(unknown) when the check failed.
          type: str
          sample: ready
        summary: {description: Verdict and cause in one line., type: str, sample: ready}
        phase: {description: How far the start got., type: str, sample: load}
        percent: {description: How much of the phase is done., type: int, sample: 50}
        idle_seconds: {description: For how long neither log nor download moved., type: float, sample: 3.2}
        cause: {description: "Why it is not ready: id, meaning, remedy, evidence, link, change.", type: dict}
        previous_cause: {description: Why the start before this one failed., type: dict}
        hint: {description: What may hold up a start., type: dict}
        model: {description: Model that is served., type: str, sample: Qwen/Qwen3-8B-FP8}
        wanted_model: {description: Model that the inventory wants., type: str, sample: Qwen/Qwen3-8B-FP8}
        image: {description: Image of the container., type: str, sample: "nvcr.io/nvidia/vllm:25.09-py3"}
        wanted_image: {description: Image that the inventory wants., type: str, sample: "nvcr.io/nvidia/vllm:25.09-py3"}
        profile: {description: Profile of the release that runs., type: str, sample: throughput}
        release: {description: Release that runs., type: str, sample: 3f1c9a0b7d2e}
        vllm_version: {description: Version of vLLM., type: str, sample: 0.10.1.1}
        kv_cache_tokens: {description: Size of the KV cache in tokens., type: int, sample: 623104}
        planned_tokens:
          {description: What the release that runs was planned with., type: int, sample: 640000}
        since: {description: When the running container was started., type: str, sample: "2026-11-23T13:00:00.5Z"}
        since_seconds: {description: How long ago that was., type: int, sample: 7445}
        running: {description: Requests that are computed., type: int, sample: 8}
        waiting: {description: Requests that wait., type: int, sample: 0}
        kv_cache_usage: {description: Part of the KV cache in use (0 to 1)., type: float, sample: 0.03}
        prefix_cache_hit_rate: {description: Hits by queries since the start (0 to 1)., type: float, sample: 0.71}
        preemptions: {description: Requests that had to give up their KV cache since the start., type: int, sample: 0}
        generation_tokens_per_second: {description: Tokens generated per second., type: float, sample: 402.5}
        prompt_tokens_per_second: {description: Tokens read per second., type: float, sample: 1890.0}
        gpu_temperature_c: {description: Temperature of the GPU in °C., type: int, sample: 68}
        gpu_sm_clock_mhz: {description: SM clock in MHz., type: int, sample: 2418}
        gpu_utilization_percent: {description: How busy the GPU is., type: int, sample: 96}
        gpu_throttled: {description: V(null) when the GPU is not busy enough to tell., type: bool, sample: false}
        driver: {description: Version of the GPU driver., type: str, sample: 580.95.05}
        firmware: {description: As that of M(dgxspark.vllm.spark_info)., type: dict, sample: {dgx_os: 7.3.1}}
        memory_available_bytes: {description: Available memory of the host., type: int, sample: 12884901888}
    notes:
      description: What is worth a word although it makes no host unhealthy.
      type: list
      elements: dict
      contains:
        id: {description: Short name., type: str, sample: driver_drift}
        hosts: {description: Hosts that it is about., type: list, elements: str, sample: [spark03]}
        meaning: {description: What was seen., type: str}
        remedy: {description: What to do., type: str}
        link: {description: Where more is said., type: str, sample: "docs/troubleshooting.md#driver_drift"}
"""
