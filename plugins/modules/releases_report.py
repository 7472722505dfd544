# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Documentation only: the action plugin of the same name runs on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: releases_report
short_description: Show the releases of all hosts in one table
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints one table of the results of M(dgxspark.vllm.vllm_releases_info) on each host, with model, profile and image
    of each release, the times at which it was staged and last proven, and whether it is current, the one that a
    rollback returns to, only staged, or failed.
  - A narrow terminal gets fewer columns. Below the table stands why a host could not be read.
  - The table is not printed with the callbacks C(json), C(jsonl) and C(null), or with C(display_ok_hosts=false).
  - Runs on the controller and opens no connection. Use it with C(run_once).
options:
  releases:
    description: Results of M(dgxspark.vllm.vllm_releases_info) by name of the host, in the order of the table.
    type: dict
    required: true
  problems:
    description: Why a result is missing, by name of the host.
    type: dict
    default: {}
extends_documentation_fragment:
  - dgxspark.vllm.attributes
seealso:
  - module: dgxspark.vllm.vllm_releases_info
"""

EXAMPLES = r"""
- name: Show the releases of all hosts of the play
  dgxspark.vllm.releases_report:
    releases: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'releases'))) }}"
  run_once: true
"""

RETURN = r"""
table:
  description: The printed text.
  returned: on success
  type: str
  sample: |-
    host     release       verdict                          model              profile     image           staged  ...
    spark01  3f1c9a0b7d2e  current                          Qwen/Qwen3-8B-FP8  throughput  nvcr.io/nvi...  2026-11 ...
    spark01  ba9876543210  good; rollback.yml returns to it  Qwen/Qwen3-8B-FP8  latency     nvcr.io/nvi...  2026-10 ...
releases:
  description: The rows of the table by name of the host. Unknown values are V(null).
  returned: on success
  type: dict
  sample:
    spark01:
      - release: 3f1c9a0b7d2e
        model: Qwen/Qwen3-8B-FP8
        profile: throughput
        image: nvcr.io/nvidia/vllm:25.09-py3
        staged: 2026-11-23 12:30 UTC
        proven: 2026-11-23 12:55 UTC
        verdict: current
        current: true
"""
