#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_health
short_description: Check the health of a vLLM server, and report the cause if it is not ready
version_added: "0.1.0"
description:
  - Returns one verdict with cause and remedy, from the container, the log of its current start, the HTTP API, one
    generated token, the metrics, and the files in the model cache.
  - With O(wait=true) the action plugin of the same name polls until the server is ready, prints the progress of the
    start (download, shards, compilation, KV cache, graph capture), and fails as soon as the start has failed, without
    waiting for the timeout.
  - C(/health) answers even if the engine hangs, so only a generated token counts as proof (O(canary)).
  - If O(env_file) holds a key, a server that answers other paths than C(/health) without it is V(degraded).
  - Supports vLLM 0.10.1.1 and 0.32.
extends_documentation_fragment:
  - dgxspark.vllm.attributes
  - dgxspark.vllm.hf_model.size
options:
  container:
    description: Name of the container.
    type: str
    required: true
  service:
    description:
      - Name of the systemd unit that runs the container, with or without C(.service). Its restarts are counted, and its
        journal explains why it could not start.
      - If O(container) does not exist and another container of this service is running (label
        C(dgxspark.vllm.service)), for example after a rollback to another model, that container is checked.
    type: str
  url:
    description: URL of the server as seen from the host.
    type: str
    default: http://127.0.0.1:8000
  model:
    description: Name of the model that must be served. Any model by default.
    type: str
  max_model_len:
    description: Context length in tokens that the model must be served with. Any length by default.
    type: int
  env_file:
    description:
      - File on the host with the line C(VLLM_API_KEY='...'), read when the server requires a key.
      - If the container is one of O(service), the file of that name in the folder of its release counts, if there is
        one. After an interrupted run, that of the service may be the one of another release.
      - The key is not an option of this module, so it is not logged. It is not in the result.
      - With O(service), the key is sent only to a container of that service, recognized by its unit and its release.
    type: path
  cache_path:
    description:
      - Folder of the Hugging Face cache on the host. The model is searched in it and in its subfolder C(hub).
      - Required for the progress of a download, together with O(cache_repo).
    type: path
  cache_repo:
    description: Hugging Face ID of the model, such as V(Qwen/Qwen3-8B-FP8).
    type: str
  canary:
    description: Generate one token, as proof that the model works.
    type: bool
    default: true
  canary_timeout:
    description: Timeout for that token in seconds.
    type: int
    default: 30
  parsers:
    description:
      - Parsers of the server to prove with one chat request that has a tool, if the model has generated a token. The
        answer has at most 400 tokens.
      - A parser of another model's format makes the server V(degraded), V(tool_call) if a call is left in the text or
        has no name or no arguments, V(reasoning) if marks of the reasoning are left in the text. A model that calls no
        tool, or does not think, proves nothing; see RV(parsers).
    type: list
    elements: str
    choices: [tool_call, reasoning]
    default: []
  sample_seconds:
    description:
      - Read the metrics twice, at this interval, for the tokens per second in RV(metrics). V(0) disables them.
      - A server without a request at the first reading is not waited for.
    type: float
    default: 0.0
  read_host:
    description:
      - Also read the host, as M(dgxspark.vllm.spark_info) does with C(cache) O(cache_path) and C(cache_model)
        O(cache_repo), while the metrics are compared (O(sample_seconds)). See RV(spark).
      - If the container does not run, also who listens on the port of O(url), as C(listener).
      - An empty dictionary reads it. What is in it is read besides.
    type: dict
    suboptions:
      port:
        description: As for M(dgxspark.vllm.spark_info), instead of the port of O(url); also if the container runs.
        type: int
      address:
        description: As for M(dgxspark.vllm.spark_info).
        type: str
        default: 0.0.0.0
      files:
        description: As for M(dgxspark.vllm.spark_info).
        type: list
        elements: path
        default: []
      units:
        description: As for M(dgxspark.vllm.spark_info).
        type: list
        elements: str
        default: []
  home:
    description:
      - Folder of O(service) on the host. Its releases are read, as M(dgxspark.vllm.vllm_releases_info) does. See
        RV(releases).
    type: path
  wait:
    description:
      - Wait until the server is ready, print the progress, and fail as soon as it cannot become ready.
      - By default the task returns at once, and never fails because of the server's state.
      - Requires the action plugin. Ignored in check mode and by the bare module.
    type: bool
    default: false
  timeout:
    description: With O(wait), the timeout in seconds. The time of a download that makes progress does not count.
    type: int
    default: 3600
  phase_timeouts:
    description:
      - With O(wait), timeouts in seconds for single phases, as a dictionary from RV(phase) to seconds. It is merged
        over the defaults C(container) 900, C(load) 2700, C(compile) 1800, C(kv_cache) 600, C(capture) 900,
        C(server) 300.
      - A download that makes progress has no timeout.
    type: dict
    default: {}
  stall_timeout:
    description: Seconds without a new log line or downloaded byte after which a loading server is V(stuck).
    type: int
    default: 900
  poll_interval:
    description: With O(wait), the initial seconds between two polls. The interval grows to 3 seconds.
    type: float
    default: 2.0
attributes:
  check_mode:
    description: Can run in check mode. The result is the same as without it.
    support: full
    details: Never waits in check mode.
notes:
  - If the task fails, the result holds only RV(verdict), RV(phase), RV(cause), RV(last_line), RV(seconds) and RV(msg),
    because Ansible prints all of it.
  - RV(cause.link) is a page in the folder of the collection, which C(ansible-galaxy collection list dgxspark.vllm)
    names. What that page says of a cause is in RV(cause.meaning) and RV(cause.remedy).
  - Requires root or a user with access to Docker.
  - The bytes of a download are the allocated blocks of its files, at most their length.
author:
  - The dgxspark.vllm authors (@dgxspark)
seealso:
  - module: dgxspark.vllm.vllm_log_info
"""

EXAMPLES = r"""
- name: Check the server
  dgxspark.vllm.vllm_health:
    container: vllm-qwen3-8b-fp8
    service: vllm
    model: Qwen/Qwen3-8B-FP8
    env_file: /opt/vllm/.env
  become: true
  register: health

- name: Wait until the server is ready, with live progress
  dgxspark.vllm.vllm_health:
    container: vllm-qwen3-8b-fp8
    service: vllm
    url: http://127.0.0.1:8000
    model: Qwen/Qwen3-8B-FP8
    max_model_len: 32768
    env_file: /opt/vllm/.env
    cache_path: /opt/hf
    cache_repo: Qwen/Qwen3-8B-FP8
    expected_bytes: 9400000000
    wait: true
    timeout: 3600
  become: true
"""

RETURN = r"""
verdict:
  description:
    - V(ready) - the right model answers, and generated a token.
    - V(loading) - the server is starting, see RV(phase).
    - V(degraded) - the server answers but is not usable, see RV(cause).
    - V(failed) - the start failed or the server died, see RV(cause).
    - V(stuck) - the server is starting, without progress for O(stall_timeout).
    - V(absent) - the container does not exist.
  returned: always
  type: str
  sample: ready
phase:
  description:
    - Phase that the start has reached, one of V(container), V(download), V(load), V(compile), V(kv_cache), V(capture),
      V(server), V(ready). V(null) if there is no start.
  returned: always
  type: str
  sample: load
progress:
  description: Progress of the start. Unknown values are V(null).
  returned: always
  type: dict
  contains:
    percent: {description: Percentage of the current phase., type: int}
    bytes: {description: Bytes of the model on disk., type: int}
    expected_bytes: {description: The value of O(expected_bytes)., type: int}
    rate_bps: {description: 'With O(wait), download rate in bytes per second.', type: int}
    shards_done: {description: Weight files loaded., type: int}
    shards_total: {description: Weight files of the model., type: int}
    compile_seconds: {description: Duration of the compilation., type: float}
    capture_done: {description: CUDA graphs captured., type: int}
    capture_total: {description: CUDA graphs to capture., type: int}
    capture_seconds: {description: Duration of the capture., type: float}
  sample: {"percent": 50, "bytes": 9400000000, "expected_bytes": 9400000000, "shards_done": 1, "shards_total": 2}
cause:
  description: Why the server is not ready. V(null) if it is ready or loading.
  returned: always
  type: dict
  contains:
    id: {description: 'Name of the cause, as in docs/troubleshooting.md.', type: str}
    meaning: {description: What happened., type: str}
    remedy: {description: 'What to do, in terms of the variables of the roles.', type: str}
    evidence: {description: 'The log line or exception, without secrets.', type: str}
    family:
      description: Area of the cause, as RV(dgxspark.vllm.vllm_log_info#module:cause.family).
      type: str
    certain: {description: 'Whether the cause is known. If not, the family is likely.', type: bool}
    retry: {description: 'Whether the fault is transient, so that the same call may succeed.', type: bool}
    sets:
      description: Options and environment variables that avoid the fault with the same image and model, by variable.
      type: dict
    link: {description: Page of this collection's documentation with the details., type: str}
    change:
      description:
        - Variables of the role vllm with the values, computed from the log, with which the start should succeed.
          Empty if none can be computed. See C(vllm_auto_remedy).
      type: dict
  sample:
    id: max_len_gt_model
    meaning: vllm_max_model_len 999999 is more than the 40960 tokens that the model was trained for
    remedy: set vllm_max_model_len to 40960 or less, or configure YaRN with hf_overrides in
      vllm_extra_args (rope_parameters; before vLLM 0.12 rope_scaling)
    evidence: User-specified max_model_len (999999) is greater than the derived max_model_len
    family: option
    certain: true
    retry: false
    sets: {}
    link: docs/troubleshooting.md#max_len_gt_model
    change: {}
idle_seconds:
  description: Seconds since the last log line or downloaded byte of a loading server. V(null) if it is not loading.
  returned: always
  type: float
  sample: 1.5
previous_cause:
  description: Cause of the failure of the previous start, if the server was restarted and is not ready. As RV(cause).
  returned: always
  type: dict
hint:
  description: Likely reason for a slow start, such as a lock. As RV(cause), V(null) if the log shows none.
  returned: always
  type: dict
machine:
  description:
    - Events in the kernel log, earlyoom and the sensors since the start of the container, or in the last hour. Each
      entry as RV(cause).
    - Empty without such events, and while the module waits for a loading server.
  returned: always
  type: list
  elements: dict
model:
  description: Name of the served model.
  returned: always
  type: str
  sample: Qwen/Qwen3-8B-FP8
max_model_len:
  description: Context length in tokens.
  returned: always
  type: int
  sample: 32768
vllm_version:
  description: Version of vLLM.
  returned: always
  type: str
  sample: 0.10.1.1
kv_cache_tokens:
  description: Size of the KV cache in tokens.
  returned: always
  type: int
  sample: 623104
max_concurrency:
  description: Number of requests of full length that fit into the KV cache.
  returned: always
  type: float
  sample: 19.02
weights_gib:
  description: Memory of the weights in GiB.
  returned: always
  type: float
  sample: 8.8
nccl_network:
  description: How NCCL connects hosts that serve together, V(IB) or V(Socket). V(null) for a host that serves alone.
  returned: always
  type: str
  sample: IB
completion:
  description:
    - The generated token. V(null) if none was generated.
    - A model that generates no text is asked for an embedding, a score, a classification, a pooling or
      a transcription of a second of silence instead.
  returned: always
  type: dict
  contains:
    text:
      description: Generated text, or what was computed instead, such as V(an embedding of 1024 numbers).
      type: str
    tokens: {description: Number of tokens., type: int}
    seconds: {description: Duration., type: float}
  sample: {"text": " I", "tokens": 1, "seconds": 0.31}
parsers:
  description: For each of O(parsers) V(proven), or V(not_seen) if the model gave it nothing to do.
  returned: always
  type: dict
  sample: {"tool_call": "proven", "reasoning": "not_seen"}
metrics:
  description:
    - Metrics of the server since its start. V(null) if the server does not answer.
    - RV(metrics.kv_cache_usage), RV(metrics.prefix_cache_hit_rate) and RV(metrics.draft_acceptance_rate) are between 0
      and 1.
  returned: always
  type: dict
  contains:
    running: {description: Running requests., type: int}
    waiting: {description: Waiting requests., type: int}
    kv_cache_usage: {description: Share of the KV cache in use., type: float}
    preemptions: {description: Requests that were preempted., type: int}
    prompt_tokens: {description: Prompt tokens processed., type: int}
    generation_tokens: {description: Tokens generated., type: int}
    prompt_tokens_per_second: {description: 'Prompt tokens per second, with O(sample_seconds).', type: float}
    generation_tokens_per_second: {description: 'Generated tokens per second, with O(sample_seconds).', type: float}
    prefix_cache_queries: {description: Tokens looked up in the prefix cache., type: int}
    prefix_cache_hits: {description: Tokens found in the prefix cache., type: int}
    prefix_cache_hit_rate: {description: Hits divided by queries., type: float}
    draft_tokens: {description: Tokens that a draft model or MTP proposed., type: int}
    accepted_draft_tokens: {description: Those of them that the model accepted., type: int}
    draft_acceptance_rate: {description: Accepted tokens divided by proposed ones., type: float}
  sample: {"running": 3, "waiting": 0, "kv_cache_usage": 0.02, "preemptions": 0, "generation_tokens": 40}
container:
  description: State of the container. V(null) if it does not exist.
  returned: always
  type: dict
  contains:
    name: {description: Name., type: str}
    id: {description: Short ID., type: str}
    status: {description: 'State, as Docker reports it.', type: str}
    exit_code: {description: Last exit code., type: int}
    oom_killed: {description: Whether the OOM killer killed it., type: bool}
    error: {description: Error of Docker if it could not start the container., type: str}
    started_at: {description: Time of the last start., type: str}
    finished_at: {description: Time of the last exit., type: str}
    image: {description: Image., type: str}
    restarts: {description: Restarts by Docker., type: int}
    labels: {description: Labels., type: dict}
    published: {description: Address and port on the host. V(null) if no port is published., type: str}
    binds: {description: Files and folders of the host that it has., type: list, elements: str}
    is_in_host_network: {description: Whether it has no network of its own., type: bool}
    pid: {description: ID of the process on the host. V(null) if it does not run., type: int}
  sample: {"name": "vllm-qwen3-8b-fp8", "status": "running", "exit_code": 0}
service:
  description: State of the systemd unit. V(null) if O(service) is not set or does not exist.
  returned: always
  type: dict
  contains:
    active_state: {description: 'State, as systemd reports it.', type: str}
    result: {description: 'Result of the last run, as systemd reports it.', type: str}
    restarts: {description: Restarts by systemd since the unit was started., type: int}
  sample: {"active_state": "active", "result": "success", "restarts": 0}
last_line:
  description: Last log line of this start, without secrets.
  returned: always
  type: str
  sample: "INFO:     Application startup complete."
log_lines:
  description: Number of log lines of this start that were read.
  returned: always
  type: int
  sample: 98
failed_releases:
  description:
    - When releases were last switched to that were never proven, in seconds since 1970, by ID. Empty without
      O(service).
  returned: with O(read_host)
  type: dict
  sample: {"0f3c5d7e9a1b": 1795446000.0}
spark:
  description: The host, as in RV(dgxspark.vllm.spark_info#module:spark).
  returned: with O(read_host)
  type: dict
clock:
  description:
    - The clock of the host, as RV(dgxspark.vllm.spark_info#module:clock).
    - The bare module does not return it.
  returned: with O(read_host)
  type: dict
  sample: {least: -2.4, most: 0.9}
releases:
  description: The releases and whose the folder is, as M(dgxspark.vllm.vllm_releases_info) returns them.
  returned: with O(home)
  type: dict
seconds:
  description: Seconds that the task waited.
  returned: with O(wait)
  type: float
  sample: 81.2
msg:
  description: What failed, what it means and what to do, in one line.
  returned: on failure
  type: str
  sample: "vllm-qwen3-8b-fp8 failed in phase load: ..."
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import installed, releases
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.services import home_of
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside import os_problem
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import result
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.parsers import PARSERS
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.probe import Probe


def argument_spec() -> dict[str, dict[str, t.Any]]:
    """The options of the module and of its action plugin, in one place."""
    return {
        "container": {"type": "str", "required": True},
        "service": {"type": "str"},
        "url": {"type": "str", "default": "http://127.0.0.1:8000"},
        "model": {"type": "str"},
        "max_model_len": {"type": "int"},
        "env_file": {"type": "path"},
        "cache_path": {"type": "path"},
        "cache_repo": {"type": "str"},
        "expected_bytes": {"type": "int"},
        "canary": {"type": "bool", "default": True},
        "canary_timeout": {"type": "int", "default": 30},
        "parsers": {"type": "list", "elements": "str", "choices": list(PARSERS), "default": []},
        "sample_seconds": {"type": "float", "default": 0.0},
        "read_host": {
            "type": "dict",
            "options": {
                "port": {"type": "int"},
                "address": {"type": "str", "default": "0.0.0.0"},
                "files": {"type": "list", "elements": "path", "default": []},
                "units": {"type": "list", "elements": "str", "default": []},
            },
        },
        "home": {"type": "path"},
        "wait": {"type": "bool", "default": False},
        "timeout": {"type": "int", "default": 3600},
        "phase_timeouts": {"type": "dict", "default": {}},
        "stall_timeout": {"type": "int", "default": 900},
        "poll_interval": {"type": "float", "default": 2.0},
    }


def failed_releases(service: str) -> dict[str, float]:
    """The releases of a service that were started and never proven, with the time of that start."""
    home = home_of(service)
    try:
        found = releases.read(home) if home else []
    except OSError:  # a folder that may not be read is no reason to judge nothing
        return {}
    return {one.id: one.started for one in found if one.started is not None and one.good is None}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    probe = Probe(module)
    seen = probe.observe()
    found = result(seen, probe.key)
    service = (module.params["service"] or "").removesuffix(".service")
    if module.params["read_host"] is not None:
        # what was read is no older than that
        found |= {"spark": {**probe.host(), "time": int(seen.now)}, "failed_releases": failed_releases(service)}
    home: str | None = module.params["home"]
    if home:
        try:
            found["releases"] = installed.read(home, service, module.params["cache_path"])
        except OSError as error:
            module.fail_json(msg=os_problem.one_line(error, home))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
