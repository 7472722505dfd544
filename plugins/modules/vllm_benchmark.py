#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_benchmark
short_description: Measure the speed of a vLLM service with its own benchmark client
version_added: "0.1.0"
description:
  - Runs C(vllm bench serve) in the container of a service of this collection, for each of O(cells) and each of
    O(repetitions), with random prompts, so nothing is downloaded. Nothing is done to the service but requests.
  - The exit code of the client is 0 even if every request has failed. A run counts only if all requests succeeded.
  - Reports what the server's own counters and the GPU said around each run, and whether others used the server.
  - The API key reaches the client by the environment of the container. It is not in its arguments or in the result.
  - Fails in one line on a host that does not serve. A run that fails, or O(timeout), ends the measurement; what was
    measured until then is returned.
  - The action plugin of the same name prints one line for each run.
  - Its command line is the same for vLLM 0.10.1.1 to 0.32.
extends_documentation_fragment:
  - dgxspark.vllm.attributes
options:
  service:
    description: Name of the service, the C(vllm_service_name) of the role P(dgxspark.vllm.vllm#role).
    type: str
    default: vllm
  cells:
    description: What to measure, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: 'Short name, such as V(c8).', type: str, required: true}
      concurrency: {description: Requests at a time., type: int, required: true}
      prompts: {description: 'Requests, at least O(cells[].concurrency).', type: int, required: true}
      input_tokens: {description: Tokens of each prompt., type: int, required: true}
      output_tokens: {description: Tokens to generate for each prompt., type: int, required: true}
      prefix_tokens:
        description: Tokens of a prefix that all prompts share. It is in the prefix cache before the run starts.
        type: int
        default: 0
  repetitions:
    description: Runs of each cell, each with prompts of its own. The spread of three or more tells noise from change.
    type: int
    default: 3
  timeout:
    description: Seconds for everything.
    type: int
    default: 3600
  settle_seconds:
    description: Seconds to wait before each cell until the server is idle and the GPU is cool. Then it starts anyway.
    type: int
    default: 120
  cool_celsius:
    description: Highest temperature of the GPU in °C that counts as cool.
    type: int
    default: 60
  seed:
    description:
      - Seed of the prompts of the first run; each later run adds 1. A random one by default.
      - With a seed that was used before, prompts are found in the prefix cache, and the run measures the cache.
    type: int
attributes:
  check_mode:
    description: Can run in check mode.
    support: partial
    details: Checks that the host serves, and measures nothing.
  idempotent:
    description: Changes nothing, and measures anew each time.
    support: full
notes:
  - Requires root or a user with access to Docker, and C(sh), C(timeout) and C(mktemp) in the image.
  - The client needs about 2 GiB of memory and a processor of the host while it runs.
  - In every version the client sends the first prompt once before the run, as a warm-up. One prompt of each run is
    therefore in the prefix cache.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.benchmark_report
"""

EXAMPLES = r"""
- name: Measure one user and eight users at a time
  dgxspark.vllm.vllm_benchmark:
    cells:
      - {name: c1, concurrency: 1, prompts: 4, input_tokens: 128, output_tokens: 256}
      - {name: c8, concurrency: 8, prompts: 32, input_tokens: 128, output_tokens: 256}
    timeout: 1800
  become: true
  register: benchmark

- name: Show the throughput
  ansible.builtin.debug:
    msg: "{{ benchmark.runs | map(attribute='result.output_throughput') }}"
"""

RETURN = r"""
complete:
  description: Whether every cell was measured that fits the context of the served model.
  returned: always
  type: bool
  sample: true
reason:
  description: Why not, in one line.
  returned: always
  type: str
  sample: null
server:
  description: What was measured. Unknown values are V(null).
  returned: always
  type: dict
  contains:
    container: {description: Name of the container., type: str}
    service: {description: Name of the service., type: str}
    release: {description: Running release., type: str}
    profile: {description: Its profile., type: str}
    started_at: {description: Start time of the container., type: str}
    image: {description: Image., type: str}
    digest: {description: 'Digest of the image, or its ID without a registry.', type: str}
    vllm_version: {description: Version of vLLM., type: str}
    model: {description: Hugging Face ID., type: str}
    served_name: {description: Name in requests., type: str}
    revision: {description: Commit of the model., type: str}
    max_model_len: {description: Context length in tokens., type: int}
    kv_cache_tokens: {description: 'Size of the KV cache in tokens, if the version has such a metric.', type: int}
    options: {description: Options of C(vllm serve)., type: list, elements: str}
    gpu: {description: 'The GPU, as returned by M(dgxspark.vllm.spark_info).', type: dict}
  sample: {container: vllm-qwen3-8b-fp8, vllm_version: 0.10.1.1, model: Qwen/Qwen3-8B-FP8, max_model_len: 32768}
runs:
  description: One entry for each run, in their order.
  returned: always
  type: list
  elements: dict
  contains:
    cell: {description: The cell., type: dict}
    repetition: {description: Number of the repetition from 1., type: int}
    seed: {description: Seed of the prompts., type: int}
    problem: {description: 'Why the run does not count, V(null) if it does.', type: str}
    result:
      description: Tokens per second, requests per second, and mean, median, std, p50, p95, p99 of latencies in ms.
      type: dict
    settled:
      description: Whether the server was idle and the GPU cool, and how long that was waited for. V(null) is unknown.
      type: dict
    gpu_before: {description: The GPU before., type: dict}
    gpu_during:
      description: Median clock and power, highest temperature, and whether it was throttled. V(null) without samples.
      type: dict
    gpu_after: {description: The GPU after., type: dict}
    server:
      description:
        - Differences of the server's counters over the run, C(preemptions) before and after, and C(others), whether it
          generated clearly more than the run had asked for.
      type: dict
  sample:
    - cell: {name: c8, concurrency: 8, prompts: 32, input_tokens: 128, output_tokens: 256, prefix_tokens: 0}
      repetition: 1
      problem: null
      result: {completed: 32, output_throughput: 180.2, median_ttft_ms: 410.5, median_tpot_ms: 43.1}
too_long:
  description: Cells that do not fit the context of the served model, by name, with the reason.
  returned: always
  type: dict
  sample: {d32768-c1: "needs 34944 tokens, the model is served with 32768"}
not_run:
  description: Names of the cells that were not measured because the measurement ended.
  returned: always
  type: list
  elements: str
  sample: []
"""

import random
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.bench_run import Bench, Refused
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.benchmark import Cell, cell_problem, too_long

# A client that has less than this cannot even start.
LEAST_SECONDS = 30


def argument_spec() -> dict[str, dict[str, t.Any]]:
    """The options of the module and of its action plugin, in one place."""
    return {
        "service": {"type": "str", "default": "vllm"},
        "cells": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "name": {"type": "str", "required": True},
                "concurrency": {"type": "int", "required": True},
                "prompts": {"type": "int", "required": True},
                "input_tokens": {"type": "int", "required": True, "no_log": False},
                "output_tokens": {"type": "int", "required": True, "no_log": False},
                "prefix_tokens": {"type": "int", "default": 0, "no_log": False},
            },
        },
        "repetitions": {"type": "int", "default": 3},
        "timeout": {"type": "int", "default": 3600},
        "settle_seconds": {"type": "int", "default": 120},
        "cool_celsius": {"type": "int", "default": 60},
        "seed": {"type": "int"},
    }


def option_problem(options: t.Mapping[str, t.Any]) -> str | None:
    """What is wrong with the options, in one line."""
    cells = [Cell(**cell) for cell in options["cells"]]
    if not cells:
        return "cells: is empty; name at least one cell"
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"cells: {twice[0]} is there twice; give each cell a name of its own"
    for name, low in (("repetitions", 1), ("timeout", LEAST_SECONDS), ("settle_seconds", 0), ("cool_celsius", 1)):
        if options[name] < low:
            return f"{name}: {options[name]} is not allowed; use {low} or more"
    return next(filter(None, map(cell_problem, cells)), None)


def measure(module: AnsibleModule, bench: Bench) -> dict[str, t.Any]:
    """All runs, until one fails or the time is up."""
    options = module.params
    deadline = time.monotonic() + options["timeout"]
    seed = options["seed"] if options["seed"] is not None else random.randrange(2**31)
    left_out: dict[str, str] = {}
    runs: list[dict[str, t.Any]] = []
    not_run: list[str] = []
    reason = None
    for cell in (Cell(**cell) for cell in options["cells"]):
        why_not = too_long(cell, bench.model.max_model_len)
        if why_not:
            left_out[cell.name] = why_not
            continue
        if module.check_mode or reason:
            not_run.append(cell.name)
            continue
        for repetition in range(1, options["repetitions"] + 1):
            wait = options["settle_seconds"] if repetition == 1 else 0
            settled = bench.settle(
                min(wait, max(0.0, deadline - time.monotonic() - LEAST_SECONDS)), options["cool_celsius"]
            )
            left = deadline - time.monotonic()
            if left < LEAST_SECONDS / 2:
                reason = f"the time is up: {options['timeout']} s (timeout)"
                break
            runs.append(bench.run(cell, repetition, seed + len(runs), left, settled))
            reason = runs[-1]["problem"]
            if reason:
                break
        if reason and not any(run["cell"]["name"] == cell.name for run in runs):
            not_run.append(cell.name)
    complete = not reason and not module.check_mode
    return {"complete": complete, "reason": reason, "runs": runs, "too_long": left_out, "not_run": not_run}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    problem = option_problem(module.params)
    if problem:
        module.fail_json(msg=problem)
    try:
        bench = Bench(module)
        server = bench.server()
    except Refused as refusal:
        module.fail_json(msg=" ".join(str(refusal).split()))
    module.exit_json(changed=False, server=server, **measure(module, bench))


if __name__ == "__main__":
    main()
