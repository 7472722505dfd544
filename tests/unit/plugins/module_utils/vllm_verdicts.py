# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of a server, and the verdict on it."""

from __future__ import annotations

from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache.usage import CachedBytes
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.api import Model
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import Api, Observation, Wanted
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log import parse
from vllm_observations import (
    HEALTHY,
    NEVER,
    NOW,
    OOM,
    QUIET_100,
    REFUSED,
    RESET,
    SERVING,
    api,
    container,
    log,
    seen,
    unit,
)

YEAR = 365 * 86400.0


NO_GPU = 'could not select device driver "nvidia" with capabilities: [[gpu]]'


# what is seen, verdict, phase, cause
TABLE: dict[str, tuple[Observation, str, str | None, str | None]] = {
    # --- nothing there
    "no Docker": (seen(docker_missing=True), "absent", None, "docker_missing"),
    "Docker down": (
        seen(docker_error="Cannot connect to the Docker daemon at unix:///var/run/docker.sock."),
        "failed",
        None,
        "docker_down",
    ),
    "Docker odd": (seen(docker_error="docker inspect gave no answer in 20 s"), "failed", None, "docker_error"),
    "absent": (seen(), "absent", None, "absent"),
    "absent, unit stopped": (seen(unit=unit("inactive", "dead")), "absent", None, "absent"),
    "absent, unit about to create it": (seen(unit=unit("active", "running")), "loading", "container", None),
    "absent, unit cannot": (
        seen(unit=unit("activating", "auto-restart"), unit_log="Error: manifest unknown"),
        "failed",
        "container",
        "docker_image",
    ),
    "absent, unit gave up": (seen(unit=unit("failed", result="exit-code")), "failed", "container", "unit_failed"),
    # --- another service of its swap group has the turn
    "waits": (seen(unit=unit("inactive", "dead"), waits_for="vllm-b.service"), "waiting", None, "waiting"),
    "waits, with what a failed swap left": (
        seen(container=container("exited", exit_code=1), unit=unit("failed"), waits_for="vllm-b.service"),
        "waiting",
        None,
        "waiting",
    ),
    # --- created
    "created": (seen(container=container("created")), "loading", "container", None),
    "created, Docker refused": (
        seen(container=container("created", error=NO_GPU, started_at=NEVER)),
        "failed",
        "container",
        "docker_no_gpu_runtime",
    ),
    "created, Docker refused, unit waits": (
        seen(container=container("created", error=NO_GPU), unit=unit("activating", "auto-restart")),
        "failed",
        "container",
        "docker_no_gpu_runtime",
    ),
    "created, Docker refused last time, unit tries again": (
        seen(container=container("created", error=NO_GPU), unit=unit("active", "running")),
        "loading",
        "container",
        None,
    ),
    "created, unknown refusal": (
        seen(container=container("created", error="strange")),
        "failed",
        "container",
        "start_error",
    ),
    "created, unit gave up": (
        seen(container=container("created"), unit=unit("failed"), unit_log=f"Error: {NO_GPU}\n"),
        "failed",
        "container",
        "docker_no_gpu_runtime",
    ),
    "created, Docker refused an earlier start, and this one sooner": (
        seen(
            container=container("created", error=NO_GPU),
            unit=unit("activating", "auto-restart"),
            unit_log="Error response from daemon: unknown or invalid runtime name: nvidia-legacy\n",
        ),
        "failed",
        "container",
        "docker_unknown_runtime",
    ),
    "created, Docker refused this start, after Compose's own words": (
        seen(
            container=container("created", error=NO_GPU),
            unit=unit("failed"),
            unit_log=f"Container vllm  Created\nError response from daemon: {NO_GPU}\n",
        ),
        "failed",
        "container",
        "docker_no_gpu_runtime",
    ),
    # --- loading
    "just started": (seen(container=container(), api=RESET), "loading", "container", None),
    "imports": (
        seen(container=container(), api=RESET, log=log("startup_ok.log", "Starting to load")),
        "loading",
        "container",
        None,
    ),
    "downloads": (
        seen(container=container(), api=RESET, cached=CachedBytes(5, newest_partial=1090)),
        "loading",
        "download",
        None,
    ),
    "partial of an earlier attempt": (
        seen(container=container(), api=RESET, cached=CachedBytes(5, newest_partial=990)),
        "loading",
        "container",
        None,
    ),
    "partial that nobody writes to": (
        seen(now=1300.0, container=container(), api=RESET, cached=CachedBytes(5, newest_partial=1090)),
        "loading",
        "container",
        None,
    ),
    "loads": (
        seen(container=container(), api=RESET, log=log("startup_ok.log", "Loading weights took")),
        "loading",
        "load",
        None,
    ),
    "compiles": (
        seen(container=container(), api=RESET, log=log("startup_ok.log", "Explicitly set")),
        "loading",
        "compile",
        None,
    ),
    "kv cache": (
        seen(container=container(), api=RESET, log=log("startup_ok.log", "init engine")),
        "loading",
        "kv_cache",
        None,
    ),
    "server": (
        seen(container=container(), api=REFUSED, log=log("startup_ok.log", "Available routes")),
        "loading",
        "server",
        None,
    ),
    "network retries": (
        seen(container=container(), api=RESET, log=log("netdown.log", "httpcore2.ConnectError")),
        "loading",
        "container",
        None,
    ),
    "old end, unit starts it again": (
        seen(container=container("exited", exit_code=1), unit=unit("active", "running"), unit_started=1090.0),
        "loading",
        "container",
        None,
    ),
    "quiet, but not for long": (
        seen(container=container(), api=RESET, last_log=1000.0, wanted=Wanted(stall_timeout=101)),
        "loading",
        "container",
        None,
    ),
    # --- stuck
    "silent for too long": (
        seen(container=container(), api=RESET, last_log=1000.0, wanted=Wanted(stall_timeout=100)),
        "stuck",
        "container",
        "stuck",
    ),
    "silent for too long, and it said why": (
        seen(
            container=container(),
            api=RESET,
            last_log=1000.0,
            log=parse("Still waiting to acquire lock on /x.lock"),
            wanted=Wanted(stall_timeout=100),
        ),
        "stuck",
        "container",
        "lock_wait",
    ),
    "silent, but it downloads": (
        seen(
            container=container(),
            api=RESET,
            last_log=1000.0,
            cached=CachedBytes(5, newest_partial=1090),
            wanted=Wanted(stall_timeout=100),
        ),
        "loading",
        "download",
        None,
    ),
    # --- the clock was set: a line of 1001 s, 99 s ago
    "set a year ahead while it loads": (
        seen(now=NOW + YEAR, clock_jump=YEAR, container=container(), api=RESET, last_log=1001.0, wanted=QUIET_100),
        "loading",
        "container",
        None,
    ),
    "set back a year while it loads": (
        seen(now=NOW - YEAR, clock_jump=-YEAR, container=container(), api=RESET, last_log=1001.0, wanted=QUIET_100),
        "loading",
        "container",
        None,
    ),
    "set back a year while it hangs": (
        seen(now=NOW - YEAR, clock_jump=-YEAR, container=container(), api=RESET, last_log=1000.0, wanted=QUIET_100),
        "stuck",
        "container",
        "stuck",
    ),
    "set back a year while it downloads": (
        seen(
            now=NOW - YEAR,
            clock_jump=-YEAR,
            container=container(),
            api=RESET,
            cached=CachedBytes(5, newest_partial=1090 - YEAR),
        ),
        "loading",
        "download",
        None,
    ),
    "set back a year, and a partial of an earlier attempt": (
        seen(
            now=NOW - YEAR,
            clock_jump=-YEAR,
            container=container(),
            api=RESET,
            cached=CachedBytes(5, newest_partial=990),
        ),
        "loading",
        "container",
        None,
    ),
    "set back a year after an old end, unit starts it again": (
        seen(
            now=1090.0 - YEAR,
            container=container("exited", exit_code=1),
            unit=unit("active", "running"),
            unit_started=1085.0 - YEAR,
        ),
        "loading",
        "container",
        None,
    ),
    # --- another release of the service
    "another model, after a roll back": (
        seen(container=container(), is_wanted=False, api=api(models=[Model("old", 4096)])),
        "degraded",
        "server",
        "other_release",
    ),
    "another model that is frozen": (
        seen(container=container(), is_wanted=False, api=api(completion=None, completion_error="timeout")),
        "degraded",
        "server",
        "canary_timeout",
    ),
    "another model that loads": (
        seen(container=container(), is_wanted=False, api=RESET),
        "loading",
        "container",
        None,
    ),
    # --- ready, degraded
    "ready": (seen(container=container(), api=HEALTHY, log=SERVING), "ready", "ready", None),
    "ready, nothing asked": (
        seen(container=container(), api=api(completion=None), wanted=Wanted(canary=False)),
        "ready",
        "ready",
        None,
    ),
    "ready after errors of requests": (
        seen(container=container(), api=HEALTHY, log=parse(f"INFO:     Application startup complete.\nERROR {OOM}")),
        "ready",
        "ready",
        None,
    ),
    "key refused": (
        seen(container=container(), api=api(models_status=401, models=[])),
        "degraded",
        "server",
        "key_refused",
    ),
    "other model": (
        seen(container=container(), api=api(models=[Model("other", 32768)])),
        "degraded",
        "server",
        "wrong_model",
    ),
    "other length": (
        seen(container=container(), api=api(models=[Model("Qwen/Qwen3-8B-FP8", 4096)])),
        "degraded",
        "server",
        "wrong_max_model_len",
    ),
    "frozen engine": (
        seen(container=container(), api=api(completion=None, completion_error="timeout")),
        "degraded",
        "server",
        "canary_timeout",
    ),
    "failing completion": (
        seen(container=container(), api=api(completion=None, completion_error="HTTP 500: x")),
        "degraded",
        "server",
        "canary_failed",
    ),
    "no vLLM": (seen(container=container(), api=Api(health=404)), "degraded", "server", "wrong_model"),
    "no model": (seen(container=container(), api=api(models=[])), "degraded", "server", "wrong_model"),
    "does not listen": (seen(container=container(), api=REFUSED, log=SERVING), "degraded", "server", "no_answer"),
    "paused": (seen(container=container("paused"), log=SERVING), "degraded", "server", "paused"),
    # --- failed while the container still runs
    "fatal line": (
        seen(container=container(), api=RESET, log=log("maxlen.log")),
        "failed",
        "container",
        "max_len_gt_model",
    ),
    "fatal line, engine winds down": (
        seen(container=container(), api=RESET, log=log("kvsmall3.log", "RuntimeError: Engine core")),
        "failed",
        "load",
        "kv_too_small",
    ),
    "dead engine": (
        seen(container=container(), api=Api(health=503), log=log("engine_killed.log")),
        "failed",
        "server",
        "engine_dead",
    ),
    "dead engine, silent": (
        seen(container=container(), api=Api(health=500), log=SERVING),
        "failed",
        "server",
        "engine_unhealthy",
    ),
    "dead engine, server gone": (
        seen(container=container(), api=REFUSED, log=log("engine_killed.log")),
        "failed",
        "server",
        "engine_dead",
    ),
    "shuts down": (
        seen(container=container(), api=REFUSED, log=log("startup_ok.log")),
        "failed",
        "server",
        "stopped",
    ),
    # --- failed, container ended
    "exited by a known cause": (
        seen(container=container("exited", exit_code=1), log=log("truncated.log"), unit=unit("activating")),
        "failed",
        "load",
        "weights_truncated",
    ),
    "exited by what may be retried": (
        seen(container=container("exited", exit_code=1), log=log("netdown.log")),
        "failed",
        "container",
        "hf_network",
    ),
    "offline": (
        seen(container=container("exited", exit_code=1), log=log("offline.log")),
        "failed",
        "container",
        "hf_offline_missing",
    ),
    "bad flag": (
        seen(container=container("exited", exit_code=2), log=log("unknownflag.log")),
        "failed",
        "container",
        "bad_flag",
    ),
    "exit 0 after the engine was killed": (
        seen(container=container("exited"), log=log("kill.log")),
        "failed",
        "server",
        "engine_dead",
    ),
    "exit 0 after it was ready": (
        seen(container=container("exited"), log=SERVING),
        "failed",
        "server",
        "exited_after_ready",
    ),
    "stopped by hand": (
        seen(container=container("exited"), log=log("startup_ok.log"), unit=unit("inactive")),
        "failed",
        "server",
        "stopped",
    ),
    "stopped while it loaded": (
        seen(container=container("exited", exit_code=143), log=log("startup_ok.log", "Loading weights took")),
        "failed",
        "load",
        "stopped",
    ),
    "killed": (seen(container=container("exited", exit_code=137), log=SERVING), "failed", "server", "killed"),
    "killed by the kernel": (
        seen(container=container("exited", exit_code=137, oom_killed=True), log=SERVING),
        "failed",
        "server",
        "oom_killed",
    ),
    "exited for no known reason": (
        seen(container=container("exited", exit_code=3), log=parse("bye")),
        "failed",
        "container",
        "exited",
    ),
    "unknown exception": (
        seen(container=container("exited", exit_code=1), log=parse("FooError: x")),
        "failed",
        "container",
        "unknown_exception",
    ),
    "Docker starts it again and again": (
        seen(container=container("restarting", exit_code=1, restarts=3), log=log("badquant.log")),
        "failed",
        "container",
        "unknown_quant",
    ),
    "port taken at a later start": (
        seen(
            container=container(
                "exited", exit_code=128, error="Bind for 0.0.0.0:8000 failed: port is already allocated"
            )
        ),
        "failed",
        "container",
        "docker_port_in_use",
    ),
    "old container, and a unit that failed before it made a new one": (
        seen(
            container=container("exited", exit_code=0),
            log=log("startup_ok.log"),
            unit=unit("failed"),
            unit_started=1090.0,
            unit_log="Error response from daemon: manifest unknown",
        ),
        "failed",
        "container",
        "docker_image",
    ),
    "unit waits to start it again": (
        seen(
            container=container("exited", exit_code=1),
            log=log("maxlen.log"),
            unit=unit("activating", "auto-restart", 1),
            unit_started=990.0,
        ),
        "failed",
        "container",
        "max_len_gt_model",
    ),
}
