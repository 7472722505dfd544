#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this vLLM server healthy, and if not, why not?"""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_health
short_description: Say whether a vLLM server is healthy, or why it is not
version_added: "0.1.0"
description:
  - Looks at the container, at the log of its current start, at the HTTP API, at one generated token, at the metrics and
    at the files in the model cache, and sums it up in one verdict with cause and remedy.
  - With O(wait=true) the action plugin of the same name asks again and again, prints the progress of the start
    (download, shards, compilation, KV cache, graph capture), and stops at the first sign that the start has failed, not
    at the timeout.
  - C(/health) stays fine when the engine is frozen, so only a generated token counts as proof (O(canary)).
  - Understands vLLM 0.10.1.1 and 0.32.
options:
  container:
    description: Name of the container.
    type: str
    required: true
  service:
    description:
      - Name of the service, which is the systemd unit that runs the container, with or without C(.service). Its
        restarts are seen, and why it could not start.
      - If O(container) is not there and another container of this service runs (label C(dgxspark.vllm.service)), for
        example after a roll back to another model, that one is judged.
    type: str
  url:
    description: Address of the server as the host sees it.
    type: str
    default: http://127.0.0.1:8000
  model:
    description: Name of the model that must be served. If it is not set, any model is right.
    type: str
  max_model_len:
    description: Context length, in tokens, that the model must be served with. If it is not set, any is right.
    type: int
  env_file:
    description:
      - File on the host with the line C(VLLM_API_KEY='...'), read when the server wants a key.
      - The key is no option of this module, so that it shows in no log. It is not in the result.
    type: path
  cache_path:
    description:
      - Folder of the Hugging Face cache on the host. The model is looked for in it and in its folder C(hub).
      - Needed to see the progress of a download, together with O(cache_repo).
    type: path
  cache_repo:
    description: Hugging Face id of the model, such as V(Qwen/Qwen3-8B-FP8).
    type: str
  expected_bytes:
    description: Size of the model in bytes, for the percentage of a download.
    type: int
  canary:
    description: Let the model generate one token, as the proof that it works.
    type: bool
    default: true
  canary_timeout:
    description: Longest time, in seconds, for that token.
    type: int
    default: 30
  sample_seconds:
    description:
      - Read the metrics twice, so many seconds apart, for the tokens per second in RV(metrics). With V(0) there are
        none.
    type: float
    default: 0.0
  wait:
    description:
      - Wait until the server is ready, print the progress, and fail as soon as it cannot become ready.
      - Without it the task never fails because of the server's state, and returns at once.
      - In check mode it is ignored. It needs the action plugin; the bare module ignores it.
    type: bool
    default: false
  timeout:
    description: With O(wait), the longest time in seconds. The time of a download that moves does not count.
    type: int
    default: 3600
  phase_timeouts:
    description:
      - With O(wait), the longest time in seconds for single phases, as a dictionary from RV(phase) to seconds, merged
        over the defaults C(container) 900, C(load) 2700, C(compile) 1800, C(kv_cache) 600, C(capture) 900,
        C(server) 300.
      - A download has no limit while it moves.
    type: dict
    default: {}
  stall_timeout:
    description: A loading server is V(stuck) when neither its log nor the download moved for so many seconds.
    type: int
    default: 900
  poll_interval:
    description: With O(wait), seconds between two looks at the beginning. Later it grows to 5 seconds.
    type: float
    default: 2.0
attributes:
  check_mode:
    description: Can run in check mode and says the same as without it.
    support: full
    details: Never waits in check mode.
  diff_mode:
    description: Shows what would change in diff mode.
    support: none
    details: Nothing changes.
  idempotent:
    description: A second run changes nothing.
    support: full
    details: Changes nothing at all.
notes:
  - When the task fails, the result holds only RV(verdict), RV(phase), RV(cause), RV(last_line), RV(seconds) and
    RV(msg), because Ansible prints all of it.
  - Talks to Docker, so it needs root or a user who may.
  - Bytes of a download are blocks that the files really take on the disk, at most their length.
author:
  - The dgxspark.vllm authors (@dgxspark)
"""

EXAMPLES = r"""
- name: How is the server?
  dgxspark.vllm.vllm_health:
    container: vllm-qwen3-8b-fp8
    service: vllm
    model: Qwen/Qwen3-8B-FP8
    env_file: /opt/vllm/.env
  become: true
  register: health

- name: Wait until it is ready, with live progress
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
    - V(loading) - the server starts, see RV(phase).
    - V(degraded) - the server answers and is not usable, see RV(cause).
    - V(failed) - the start failed or the server died, see RV(cause).
    - V(stuck) - it should be loading, and nothing moved for O(stall_timeout).
    - V(absent) - there is no such container.
  returned: always
  type: str
  sample: ready
phase:
  description:
    - How far the start got, one of V(container), V(download), V(load), V(compile), V(kv_cache), V(capture), V(server),
      V(ready). V(null) if there is nothing to see.
  returned: always
  type: str
  sample: load
progress:
  description: Numbers of the start. What is not known is V(null).
  returned: always
  type: dict
  contains:
    percent:
      description: Of the phase that is going on.
      type: int
    bytes:
      description: Bytes of the model on the disk.
      type: int
    expected_bytes:
      description: The size as given by O(expected_bytes).
      type: int
    rate_bps:
      description: With O(wait), bytes per second of the download.
      type: int
    shards_done:
      description: Weight files that are loaded.
      type: int
    shards_total:
      description: Weight files of the model.
      type: int
    compile_seconds:
      description: Time that the compilation took.
      type: float
    capture_done:
      description: CUDA graphs that are captured.
      type: int
    capture_total:
      description: CUDA graphs to capture.
      type: int
    capture_seconds:
      description: Time that the capture took.
      type: float
  sample: {"percent": 50, "bytes": 9400000000, "expected_bytes": 9400000000, "shards_done": 1, "shards_total": 2}
cause:
  description: Why it is not ready. V(null) if it is ready or loading.
  returned: always
  type: dict
  contains:
    id:
      description: Short name of the cause.
      type: str
    meaning:
      description: What happened.
      type: str
    remedy:
      description: What to do, in terms of the variables of the roles.
      type: str
    evidence:
      description: The line that shows it, without secrets.
      type: str
    family:
      description: Where the cause lies, as RV(dgxspark.vllm.vllm_log_info#module:cause.family).
      type: str
    certain:
      description: Whether the cause is known. If not, the family is a likelihood.
      type: bool
    retry:
      description: Whether the fault is passing, so that the same call may succeed at once.
      type: bool
    sets:
      description: Options and environment variables that avoid the fault and keep image and model, by variable.
      type: dict
    link:
      description: Where this collection's documentation says more.
      type: str
    change:
      description:
        - Variables of the role vllm, and the values with which the start should succeed, computed from the log. Empty
          where none can be computed. See C(vllm_auto_remedy).
      type: dict
  sample:
    id: max_len_gt_model
    meaning: vllm_max_model_len 999999 is more than the 40960 tokens that the model was trained for
    remedy: set vllm_max_model_len to 40960 or less, or configure YaRN with hf_overrides in vllm_extra_args
    evidence: User-specified max_model_len (999999) is greater than the derived max_model_len
    family: option
    certain: true
    retry: false
    sets: {}
    link: docs/troubleshooting.md#max_len_gt_model
    change: {}
idle_seconds:
  description:
    - For how long, in seconds, neither the log nor the download of a loading server has moved.
    - V(null) if it is not loading.
  returned: always
  type: float
  sample: 1.5
previous_cause:
  description: Why the start before this one failed, if the server was restarted and is not ready yet. As RV(cause).
  returned: always
  type: dict
hint:
  description: What may hold the start up, such as a lock. As RV(cause), V(null) if the log says nothing of that kind.
  returned: always
  type: dict
machine:
  description:
    - What the kernel log, earlyoom and the sensors of the host show since the start of the container, or in the last
      hour. Each entry as RV(cause).
    - It is empty if they show nothing, and while the module waits for a server that loads.
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
  description: How many requests of full length fit into the KV cache.
  returned: always
  type: float
  sample: 19.02
weights_gib:
  description: Memory of the weights in GiB.
  returned: always
  type: float
  sample: 8.8
completion:
  description: The generated token. V(null) if there was none.
  returned: always
  type: dict
  contains:
    text:
      description: The text.
      type: str
    tokens:
      description: How many tokens.
      type: int
    seconds:
      description: How long it took.
      type: float
  sample: {"text": " I", "tokens": 1, "seconds": 0.31}
metrics:
  description:
    - Numbers of the server since its start. RV(metrics.kv_cache_usage) and RV(metrics.prefix_cache_hit_rate) go from 0
      to 1.
    - V(null) if the server does not answer.
  returned: always
  type: dict
  contains:
    running:
      description: Requests that are computed.
      type: int
    waiting:
      description: Requests that wait.
      type: int
    kv_cache_usage:
      description: Part of the KV cache that is in use.
      type: float
    preemptions:
      description: Requests that had to give their KV cache up.
      type: int
    prompt_tokens:
      description: Tokens read.
      type: int
    generation_tokens:
      description: Tokens generated.
      type: int
    prompt_tokens_per_second:
      description: Tokens read per second, with O(sample_seconds).
      type: float
    generation_tokens_per_second:
      description: Tokens generated per second, with O(sample_seconds).
      type: float
    prefix_cache_queries:
      description: Tokens looked up in the prefix cache.
      type: int
    prefix_cache_hits:
      description: Tokens found there.
      type: int
    prefix_cache_hit_rate:
      description: Hits by queries.
      type: float
  sample: {"running": 3, "waiting": 0, "kv_cache_usage": 0.02, "preemptions": 0, "generation_tokens": 40}
container:
  description: State of the container. V(null) if there is none.
  returned: always
  type: dict
  contains:
    name:
      description: Name.
      type: str
    id:
      description: Short id.
      type: str
    status:
      description: State as Docker calls it.
      type: str
    exit_code:
      description: Exit code of the last end.
      type: int
    oom_killed:
      description: Whether the kernel killed it for lack of memory.
      type: bool
    error:
      description: Why Docker could not start it.
      type: str
    started_at:
      description: Time of the last start.
      type: str
    finished_at:
      description: Time of the last end.
      type: str
    image:
      description: Image.
      type: str
    restarts:
      description: Restarts by Docker.
      type: int
    labels:
      description: Labels.
      type: dict
    published:
      description: Address and port at which the host reaches the server. V(null) if no port is published.
      type: str
  sample: {"name": "vllm-qwen3-8b-fp8", "status": "running", "exit_code": 0}
service:
  description: State of the systemd unit. V(null) if none was asked for or there is none.
  returned: always
  type: dict
  contains:
    active_state:
      description: State as systemd calls it.
      type: str
    result:
      description: Why it ended, as systemd calls it.
      type: str
    restarts:
      description: Restarts by systemd since it was started.
      type: int
  sample: {"active_state": "active", "result": "success", "restarts": 0}
last_line:
  description: Last line of the log of this start, without secrets.
  returned: always
  type: str
  sample: "INFO:     Application startup complete."
log_lines:
  description: Lines of the log of this start, as far as it was read.
  returned: always
  type: int
  sample: 98
seconds:
  description: How long the task waited.
  returned: with O(wait)
  type: float
  sample: 81.2
msg:
  description: What failed, what it means and what to do, in one line.
  returned: on failure
  type: str
  sample: "vllm-qwen3-8b-fp8 failed in phase load: ..."
"""

import glob
import os
import shlex
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.machine import Shown, look
from ansible_collections.dgxspark.vllm.plugins.module_utils._causes.text import mask
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.usage import cached_bytes
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.docker import (
    Container,
    Unit,
    epoch,
    log_since,
    parse_inspect,
    parse_unit,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import (
    Answer,
    Metrics,
    add_rates,
    dotenv_value,
    generate,
    parse_metrics,
    parse_models,
    parse_version,
    request,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import (
    Api,
    Observation,
    Wanted,
    argument_spec,
    judge,
    result,
    unit_is_down,
)
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import LogState, parse

COMMAND_TIMEOUT = 20
HTTP_TIMEOUT = 5
LOG_HEAD = 3 * 1024 * 1024
LOG_TAIL = 1024 * 1024
KERNEL_LOG_SECONDS = 3600


class Look:
    """One look at the service."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.options: dict[str, t.Any] = module.params
        self.docker: str | None = module.get_bin_path("docker")
        self.key = self.read_key()
        self.url: str = module.params["url"].rstrip("/")
        self.bytes_read = 0  # of the last log

    def read_key(self) -> str | None:
        path = self.options["env_file"]
        if not path:
            return None
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return dotenv_value(file.read(), "VLLM_API_KEY")
        except OSError:  # no file, no key: the server says so if it wants one
            return None

    def run(self, command: list[str]) -> tuple[int, str, str]:
        """A command that may not hang."""
        rc, out, err = self.module.run_command(["timeout", str(COMMAND_TIMEOUT), *command])
        if rc == 124:
            err = f"{command[0]} {command[1]} gave no answer in {COMMAND_TIMEOUT} s"
        return rc, plain(out), plain(err)

    def observe(self) -> Observation:
        options = self.options
        seen = Observation(
            now=time.time(),
            wanted=Wanted(
                options["model"],
                options["max_model_len"],
                options["expected_bytes"],
                options["canary"],
                options["stall_timeout"],
            ),
        )
        if self.docker is None:
            seen.docker_missing = True
            return seen
        seen.container, seen.docker_error = self.inspect(self.docker, options["container"])
        if seen.docker_error:
            return seen
        if seen.container is None and options["service"]:
            seen.container = self.other(self.docker, options["service"])
            seen.is_wanted = seen.container is None
        if options["service"]:
            seen.unit = self.unit(options["service"])
            if seen.unit and seen.unit.started_monotonic:
                seen.unit_started = time.time() - time.monotonic() + seen.unit.started_monotonic
        if seen.container is None or seen.container.status == "created" or unit_is_down(seen.unit):
            seen.unit_log = self.unit_log(options["service"], seen.unit) if seen.unit else ""
        if seen.unit and seen.unit.active_state == "failed":
            seen.gave_up = "Start request repeated too quickly" in self.unit_end(options["service"])
        if seen.container is not None:
            seen.log = self.log(self.docker, seen.container)
            if seen.container.status == "running":
                seen.api = self.ask(seen)
                if seen.api.health is None:
                    seen.last_log = self.last_log(self.docker, seen.container)
            restarts = seen.container.restarts + (seen.unit.restarts if seen.unit else 0)
            if restarts and judge(seen).verdict not in ("ready", "degraded"):
                seen.previous = self.previous_log(self.docker, seen.container)
        if not options["wait"] or judge(seen).verdict in ("failed", "stuck"):
            seen.machine = self.machine(seen.container)
        if options["cache_path"] and options["cache_repo"]:
            seen.cached = cached_bytes(options["cache_path"], options["cache_repo"])
        return seen

    def inspect(self, docker: str, name: str) -> tuple[Container | None, str]:
        rc, out, err = self.run([docker, "inspect", "--type", "container", "--", name])
        if rc == 0:
            return parse_inspect(out), ""
        missing = "no such container" in err.lower() or "no such object" in err.lower()
        return None, "" if missing else err.strip() or f"docker inspect ended with {rc}"

    def other(self, docker: str, service: str) -> Container | None:
        """The running container of this service that has another name: another release of it."""
        label = (
            f"label=dgxspark.vllm.service={service[: -len('.service')] if service.endswith('.service') else service}"
        )
        names = self.run([docker, "ps", "--filter", label, "--format", "{{.Names}}"])[1].split()
        return self.inspect(docker, names[0])[0] if names else None

    def unit(self, service: str) -> Unit | None:
        systemctl = self.module.get_bin_path("systemctl")
        if systemctl is None:
            return None
        properties = "LoadState,ActiveState,SubState,Result,NRestarts,InvocationID,ExecMainStartTimestampMonotonic"
        rc, out, _err = self.run([systemctl, "show", "--property", properties, "--", service])
        return parse_unit(out) if rc == 0 else None

    def unit_log(self, service: str, unit: Unit) -> str:
        """What the processes of the unit's last start wrote."""
        where = [f"_SYSTEMD_INVOCATION_ID={unit.invocation_id}"] if unit.invocation_id else ["--unit", service]
        return self.journal("200", where)

    def unit_end(self, service: str) -> str:
        """The last lines of the unit, with what systemd itself says of it."""
        return self.journal("5", ["--unit", service])

    def machine(self, container: Container | None) -> list[Shown]:
        """What kernel log, earlyoom and sensors show since the container was started, or in the last hour."""
        started = epoch(container.started_at) if container else None
        since = f"@{max(started or 0.0, time.time() - KERNEL_LOG_SECONDS):.0f}"
        kernel = self.journal("2000", ["--dmesg", "--since", since], "short-unix")
        return look(kernel, self.journal("200", ["--unit", "earlyoom", "--since", since]), thermal_zones())

    def journal(self, lines: str, where: list[str], output: str = "cat") -> str:
        journalctl = self.module.get_bin_path("journalctl")
        if journalctl is None:
            return ""
        command = [journalctl, "--quiet", "--no-pager", "--output", output, "--lines", lines, *where]
        return mask(self.run(command)[1], self.key)

    def log(self, docker: str, container: Container) -> LogState:
        """The log of this start: its beginning, where the causes are, and its end."""
        since = log_since(container)
        text = self.logs(docker, container, ["--since", since], f"head -c {LOG_HEAD}")
        if self.bytes_read >= LOG_HEAD:
            text += "\n" + self.logs(docker, container, ["--since", since, "--tail", "5000"], f"tail -c {LOG_TAIL}")
        return parse(text)

    def last_log(self, docker: str, container: Container) -> float | None:
        """When this start wrote its last line; when it began, if it wrote none."""
        options = ["--timestamps", "--since", log_since(container), "--tail", "1"]
        line = self.logs(docker, container, options, "tail -n 1")
        return epoch(line.split(" ", 1)[0] if line else container.started_at)

    def previous_log(self, docker: str, container: Container) -> LogState | None:
        text = self.logs(docker, container, ["--until", log_since(container), "--tail", "2000"], f"tail -c {LOG_TAIL}")
        return parse(text) if text.strip() else None

    def logs(self, docker: str, container: Container, options: list[str], bound: str) -> str:
        # a pipe, because the log of a busy server grows without end
        command = shlex.join(["timeout", str(COMMAND_TIMEOUT), docker, "logs", *options, container.id])
        text = plain(self.module.run_command(f"{command} 2>&1 | {bound}", use_unsafe_shell=True)[1])
        self.bytes_read = len(text.encode())  # what is masked may be shorter
        return mask(text, self.key)

    def ask(self, seen: Observation) -> Api:
        if not seen.is_wanted and seen.container and seen.container.published:
            self.url = f"http://{seen.container.published}"
        wanted = self.options["model"] if seen.is_wanted else None
        answer = self.get("/health")
        api = Api(health=answer.status, error=answer.error)
        if answer.status != 200:
            return api
        models = self.get("/v1/models")
        api.models_status = models.status
        api.models = parse_models(models.body) if models.status == 200 else []
        api.version = parse_version(self.get("/version").body)
        names = [model.id for model in api.models if wanted in (None, model.id)]
        if self.options["canary"] and names:
            canary = generate(self.url, names[0], self.options["canary_timeout"], self.key)
            api.completion, api.completion_error = canary.completion, canary.error
        api.metrics = self.metrics()
        return api

    def metrics(self) -> Metrics | None:
        """/metrics, twice if rates are wanted."""
        pause, begin = self.options["sample_seconds"], time.monotonic()
        first = parse_metrics(self.get("/metrics").body)
        if first is None or pause <= 0:
            return first
        time.sleep(pause)
        last = parse_metrics(self.get("/metrics").body)
        if last is not None:
            add_rates(first, last, time.monotonic() - begin)
        return last

    def get(self, path: str) -> Answer:
        return request(self.url + path, HTTP_TIMEOUT, self.key)


def thermal_zones(root: str = "/sys/class/thermal") -> dict[str, float]:
    """°C by the name of the zone."""
    zones: dict[str, float] = {}
    for path in glob.glob(os.path.join(glob.escape(root), "thermal_zone*")):
        try:
            with open(os.path.join(path, "temp"), encoding="ascii") as file:
                degrees = int(file.read()) / 1000
            with open(os.path.join(path, "type"), encoding="utf-8") as file:
                name = file.read().strip()
        except (OSError, ValueError):  # a sensor that does not answer
            continue
        zones[f"{name} ({os.path.basename(path)})"] = degrees
    return zones


def plain(text: str) -> str:
    """Text that fits into JSON, whatever bytes a log holds."""
    return text.encode("utf-8", "replace").decode("utf-8")


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    look = Look(module)
    module.exit_json(changed=False, **result(look.observe(), look.key))


if __name__ == "__main__":
    main()
