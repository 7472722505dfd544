# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was seen of a vLLM service to one verdict. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field

from .._causes import causes, machine, place
from .._causes.causes import Cause, as_dict, condition, explain
from .._causes.text import mask
from .._hf_cache.usage import CachedBytes
from .._host.clock import Clock
from .._host.docker import Container, Unit, epoch, is_to_come
from .api import Completion, Metrics, Model
from .log import LogState, recognize

# Exit codes of a process that a signal ended: illegal instruction, abort, bus error, bad memory access.
CRASHES = (132, 134, 135, 139)
# A partial file that was not written to for so long is a leftover, no download.
PARTIAL_IS_ALIVE = 120
# Longest time in seconds for a phase; generous for a Spark, where a model of 120 billion parameters takes a quarter of
# an hour to start. A download has none: it may take as long as it moves.
PHASE_TIMEOUTS = {"container": 900, "load": 2700, "compile": 1800, "kv_cache": 600, "capture": 900, "server": 300}


@dataclass
class Api:
    """What the server answered."""

    health: int | None = None  # HTTP status of /health
    error: str | None = None  # why /health did not answer: refused, reset, timeout, ...
    models_status: int | None = None
    models: list[Model] = field(default_factory=list)
    version: str | None = None
    completion: Completion | None = None
    completion_error: str | None = None
    open_paths: list[str] = field(default_factory=list)  # what is answered without the key that clients have to send
    parsers: dict[str, str] = field(default_factory=dict)  # of those that were asked for: proven or not_seen
    parser_problem: tuple[str, str] | None = None  # condition and evidence
    metrics: Metrics | None = None


@dataclass
class Wanted:
    model: str | None = None
    max_model_len: int | None = None
    expected_bytes: int | None = None
    canary: bool = True
    stall_timeout: float = 900.0  # seconds


class Link(t.NamedTuple):
    """Of a host that serves together with others: its rank, the head, and whose connection is missing."""

    rank: int
    head: str
    missing: t.Sequence[str]


@dataclass
class Observation:
    now: float
    clock_jump: float = 0.0  # by how many seconds the host's clock was set since the container began
    wanted: Wanted = field(default_factory=Wanted)
    container: Container | None = None
    is_wanted: bool = True  # the container has the wanted name; if not, it is another release of the same service
    unit: Unit | None = None
    unit_name: str = ""
    unit_started: float | None = None  # when the unit's process started, by the clock of now
    log: LogState = field(default_factory=LogState)
    last_log: float | None = None  # when a loading server wrote its last line, or was started if it wrote none
    previous: LogState | None = None  # log of the attempt before, when there was one
    unit_log: str = ""  # what the unit's last start wrote to the journal, when the container did not start
    gave_up: bool = False  # systemd's limit of tries is reached
    waits_for: str = ""  # the unit of its swap group that has the turn instead
    link: Link | None = None  # None for a host that serves alone
    docker_missing: bool = False
    docker_error: str = ""  # what Docker said instead of an answer
    api: Api | None = None
    cached: CachedBytes | None = None
    machine: list[machine.Shown] = field(default_factory=list)  # what kernel log and sensors show

    @property
    def clock(self) -> Clock:
        return Clock(self.now, self.clock_jump)


class Verdict(t.NamedTuple):
    verdict: str  # ready, waiting, loading, stuck, degraded, failed, absent
    phase: str | None = None
    cause: Cause | None = None


def judge(seen: Observation) -> Verdict:
    """One verdict for one observation."""
    verdict = _judge(seen)
    if verdict.verdict == "failed" and verdict.cause:
        verdict = verdict._replace(cause=machine.explain(verdict.cause, seen.machine))
    if seen.gave_up and verdict.verdict == "failed" and verdict.cause:
        last, end = verdict.cause, condition("gave_up")
        return verdict._replace(
            cause=last._replace(
                id=end.id, meaning=f"{end.meaning}: {last.meaning}", remedy=f"{last.remedy}. After that {end.remedy}"
            )
        )
    return verdict


def unit_is_down(unit: Unit | None) -> bool:
    """It neither runs nor is it being started; systemd may try again later."""
    return unit is not None and (unit.active_state in ("failed", "inactive") or unit.sub_state == "auto-restart")


def refusal(unit_log: str) -> Cause | None:
    """Why the guard (roles/vllm/files/guard.py) did not let the unit's last start happen."""
    lines = [line for line in unit_log.splitlines() if line.startswith("not started: ")]
    return recognize(lines[-1]) if lines else None


def has_yet_to_start(seen: Observation) -> bool:
    """The unit's last start did not get to the container: what its log says is of an earlier start."""
    container = seen.container
    if container is None or container.status in ("running", "paused", "restarting"):
        return False
    if epoch(container.finished_at) is None:  # it never ran, and no log is older
        return False
    is_over = refusal(seen.unit_log) is not None or _ended_before_the_unit(seen, container)
    return _unit_is_working(seen, container) or (unit_is_down(seen.unit) and is_over)


def _judge(seen: Observation) -> Verdict:
    if seen.docker_missing:
        return Verdict("absent", None, condition("docker_missing"))
    if seen.docker_error:
        return Verdict(
            "failed", None, causes.recognize(seen.docker_error) or condition("docker_error", seen.docker_error)
        )
    container = seen.container
    if seen.waits_for and (container is None or container.status != "running"):
        return Verdict("waiting", None, condition("waiting", f"{seen.waits_for} has its turn"))
    if container is None:
        return _without_container(seen)
    if container.status == "running" and seen.link and seen.link.rank:
        return _worker(seen, seen.link)
    if container.status == "running":
        return _for_the_wanted(seen, _running(seen))
    if container.status == "paused":
        return Verdict("degraded", _phase(seen), condition("paused"))
    refused = refusal(seen.unit_log)
    if refused and unit_is_down(seen.unit):
        return Verdict("failed", "container", refused)
    if container.status in ("created", "removing") and not container.error:
        return _without_container(seen, there_is_one=True)
    if _unit_is_working(seen, container):
        return Verdict("loading", "container")
    if container.error and _is_of_an_earlier_start(seen, container):
        return _without_container(seen)
    if container.error:
        return Verdict(
            "failed", "container", causes.recognize(container.error) or condition("start_error", container.error)
        )
    if container.status == "exited" and _has_failed(seen.unit) and _ended_before_the_unit(seen, container):
        return _without_container(seen)
    return Verdict("failed", _phase(seen), _death(seen, container))


def _is_of_an_earlier_start(seen: Observation, container: Container) -> bool:
    """A container that could not be made anew still shows why the one before it was not started.

    Compose writes Docker's answer, so what a start ended with stands in the journal of that start."""
    return _has_failed(seen.unit) and container.error not in seen.unit_log and recognize(seen.unit_log) is not None


def _has_failed(unit: Unit | None) -> bool:
    return unit is not None and (unit.active_state == "failed" or unit.sub_state == "auto-restart")


def _ended_before_the_unit(seen: Observation, container: Container) -> bool:
    """The container ended before the unit was started: it is the one of an earlier attempt."""
    finished = epoch(container.finished_at)
    if finished is None or seen.unit_started is None:
        return False
    return finished < seen.unit_started or is_to_come(finished, seen.now)


def _for_the_wanted(seen: Observation, verdict: Verdict) -> Verdict:
    """What is fine for the release that runs is not what was asked for, if another one was."""
    if seen.is_wanted or verdict.verdict != "ready":
        return verdict
    container, model = seen.container, served_model(seen)
    release = container.labels.get("dgxspark.vllm.release", "?") if container else "?"
    evidence = f"served: {model.id if model else '?'} (release {release}); wanted: {seen.wanted.model}"
    return Verdict("degraded", "server", condition("other_release", evidence))


def _without_container(seen: Observation, there_is_one: bool = False) -> Verdict:
    unit = seen.unit
    if unit and (unit.active_state == "failed" or unit.sub_state == "auto-restart" or unit.result == "exec-condition"):
        cause = recognize(seen.unit_log)
        if cause is None:
            lines = [line.strip() for line in seen.unit_log.splitlines() if line.strip()]
            cause = condition("unit_failed", lines[-1] if lines else unit.result)
        return Verdict("failed", "container", cause)
    if there_is_one or (unit and unit.active_state in ("active", "activating", "reloading")):
        return Verdict("loading", "container")
    return Verdict("absent", None, condition("absent"))


def _unit_is_working(seen: Observation, container: Container) -> bool:
    """The container's end is news of yesterday: the unit was started after it and is about to start it again."""
    unit = seen.unit
    if unit is None or unit.active_state not in ("active", "activating") or unit.sub_state == "auto-restart":
        return False
    if unit.sub_state in ("condition", "start-pre"):  # the guard waits for memory; the container comes after it
        return True
    if epoch(container.finished_at) is None:  # never ran: the unit would have given up if Docker's refusal were new
        return True
    return _ended_before_the_unit(seen, container)


def _death(seen: Observation, container: Container) -> Cause:
    log = seen.log
    evidence = f"exit code {container.exit_code}: {log.last_line}"
    if container.oom_killed:
        return condition("oom_killed", log.last_line)
    order = log.order(container.exit_code)
    if order:
        return condition("stopped", order)
    known = log.known
    if not known and container.exit_code == 137:
        return condition("killed", evidence)
    if not known and container.exit_code in (130, 143):
        return condition("stopped", evidence)
    cause = log.cause
    if cause is not None and (cause.certain or container.exit_code not in CRASHES):
        return cause
    if container.exit_code in CRASHES:
        return place.suspect(condition("crashed", evidence), log.uses)
    if container.exit_code == 0 and not log.ready:  # a start that fails ends with another one
        return condition("stopped", evidence)
    if container.exit_code == 0 and log.headless:  # nor does a rank without an API end with it by itself
        return _last_hint(log) or condition("stopped", evidence)
    return _last_hint(log) or condition("exited_after_ready" if log.ready else "exited", evidence)


def _end(log: LogState) -> Cause:
    """Why an attempt ended of which only the log is left."""
    order = log.order()
    if order:
        return condition("stopped", order)
    cause = log.cause
    if cause is not None:
        return cause
    return _last_hint(log) or condition("exited_after_ready" if log.ready else "exited", log.last_line)


def _last_hint(log: LogState) -> Cause | None:
    """What the last phase was about to try again, where the log says nothing else of the end."""
    if log.hint is None or log.hint.signature.kind != "retry":
        return None
    return explain(log.hint)._replace(certain=False)


def _running(seen: Observation) -> Verdict:
    api, log = seen.api or Api(), seen.log
    if api.health == 200:
        return _serving(seen, api)
    if api.health is not None:
        evidence = f"/health answers HTTP {api.health}"
        if api.health < 500:
            return Verdict("degraded", "server", condition("wrong_model", evidence))
        return Verdict("failed", _phase(seen), log.cause or condition("engine_unhealthy", evidence))
    over = _over(seen)
    if over:
        return over
    if log.ready:
        return Verdict("degraded", "server", condition("no_answer", f"/health: {api.error}"))
    return _loading(seen)


def _over(seen: Observation) -> Verdict | None:
    """The end of a container that still runs, where its log alone proves one."""
    log = seen.log
    if log.ready and log.order():
        return Verdict("failed", _phase(seen), condition("stopped", log.order()))
    if log.failed or log.died:
        return Verdict("failed", _phase(seen), log.cause or condition("stopped", log.last_line))
    return None


def _loading(seen: Observation) -> Verdict:
    log, still = seen.log, idle_seconds(seen)
    if still is not None and still >= seen.wanted.stall_timeout:
        evidence = f"nothing for {still:.0f} s; last line: {log.last_line}"
        hint = log.stands_at
        return Verdict("stuck", _phase(seen), explain(hint) if hint else condition("stuck", evidence))
    return Verdict("loading", _phase(seen))


def _worker(seen: Observation, link: Link) -> Verdict:
    """It has no API, and only its head can give a token: it is fine while it is connected with the head, and its log
    shows no end."""
    over = _over(seen)
    if over:
        return over
    if not link.missing:
        return Verdict("ready", "ready")
    if seen.log.phase != "container":  # they met before the model was loaded
        return Verdict("degraded", "server", condition("peer_lost", f"no connection to the head {link.head}"))
    return _loading(seen)


def idle_seconds(seen: Observation) -> float | None:
    """For how long neither the log nor the download of a loading server has moved."""
    if seen.last_log is None:
        return None
    partial = seen.cached.newest_partial if seen.cached else None
    moved = max(seen.clock.moment(stamp) for stamp in (seen.last_log, partial or 0.0))
    return max(0.0, round(seen.now - moved, 1))


def _serving(seen: Observation, api: Api) -> Verdict:
    # another release has other options
    wanted = seen.wanted if seen.is_wanted else Wanted(canary=seen.wanted.canary)

    def degraded(name: str, evidence: str) -> Verdict:
        return Verdict("degraded", "server", condition(name, evidence))

    if api.models_status in (401, 403):
        return degraded("key_refused", f"/v1/models answers HTTP {api.models_status}")
    served = [model.id for model in api.models]
    if not served:
        return degraded("wrong_model", f"/v1/models answers HTTP {api.models_status} and names no model")
    if wanted.model and wanted.model not in served:
        return degraded("wrong_model", f"served: {', '.join(served)}; wanted: {wanted.model}")
    model = served_model(seen)
    if wanted.max_model_len and model and model.max_model_len not in (None, wanted.max_model_len):
        return degraded("wrong_max_model_len", f"served: {model.max_model_len}; wanted: {wanted.max_model_len}")
    if wanted.canary and api.completion is None and seen.link:
        said = f"/v1/completions: {api.completion_error}"
        if seen.link.missing:
            return degraded("peer_lost", f"no connection from {', '.join(seen.link.missing)}; {said}")
        if api.completion_error == "timeout":
            return degraded("peer_lost", f"all are connected; {said}: one of them is frozen, or all are overloaded")
    if wanted.canary and api.completion is None:
        name = "canary_timeout" if api.completion_error == "timeout" else "canary_failed"
        return degraded(name, f"/v1/completions: {api.completion_error}")
    if api.open_paths:
        return degraded("key_not_asked", f"without a key {', '.join(api.open_paths)}")
    if api.parser_problem:
        return degraded(*api.parser_problem)
    return Verdict("ready", "ready")


def served_model(seen: Observation) -> Model | None:
    """The model that was asked for, or else the first that is served."""
    models = seen.api.models if seen.api else []
    return next((model for model in models if model.id == seen.wanted.model), models[0] if models else None)


def _phase(seen: Observation) -> str:
    phase = seen.log.phase
    if phase in ("container", "load") and seen.log.shards_done is None and _downloading(seen):
        return "download"
    # "ready" is what the API proves; the log alone takes it to the server
    return "server" if phase == "ready" else phase


def _downloading(seen: Observation) -> bool:
    written = seen.cached.newest_partial if seen.cached else None
    if written is None or seen.now - seen.clock.moment(written) > PARTIAL_IS_ALIVE:
        return False
    started = epoch(seen.container.started_at) if seen.container else None
    return started is None or seen.clock.moment(written) >= started + seen.clock_jump


def result(seen: Observation, key: str | None = None) -> dict[str, t.Any]:
    """What the module returns, without the secrets."""
    verdict = judge(seen)
    log, api, container, unit = seen.log, seen.api or Api(), seen.container, seen.unit
    metrics = api.metrics
    model = served_model(seen)

    def told(cause: Cause | None) -> dict[str, t.Any] | None:
        return as_dict(cause, key, seen.unit_name)

    return {
        "verdict": verdict.verdict,
        "phase": verdict.phase,
        "progress": _progress(seen, verdict.phase),
        "cause": told(verdict.cause),
        "previous_cause": told(_end(seen.previous) if seen.previous else None),
        "hint": as_dict(explain(log.hint) if log.hint else None, key),
        "machine": [as_dict(shown.cause, key) for shown in seen.machine],
        "model": model.id if model else None,
        "max_model_len": model.max_model_len if model else log.max_model_len,
        "vllm_version": api.version or log.version,
        "kv_cache_tokens": (metrics.kv_cache_tokens if metrics else None) or log.kv_cache_tokens,
        "max_concurrency": (metrics.max_concurrency if metrics else None) or log.max_concurrency,
        "idle_seconds": idle_seconds(seen) if verdict.verdict in ("loading", "stuck") else None,
        "weights_gib": log.weights_gib,
        "nccl_network": log.nccl_network,
        "completion": asdict(api.completion) if api.completion else None,
        "parsers": api.parsers,
        "metrics": metrics.values if metrics else None,
        "container": dict(asdict(container), error=mask(container.error, key)) if container else None,
        "service": (
            {"active_state": unit.active_state, "result": unit.result, "restarts": unit.restarts} if unit else None
        ),
        "last_line": mask(log.last_line, key),
        "log_lines": log.lines,
    }


def _progress(seen: Observation, phase: str | None) -> dict[str, t.Any]:
    log = seen.log
    size = seen.cached.bytes if seen.cached else None
    parts: dict[str, tuple[int | None, int | None]] = {
        "download": (size, seen.wanted.expected_bytes),
        "load": (log.shards_done, log.shards_total),
        "capture": (log.capture_done, log.capture_total),
    }
    done, total = parts.get(phase or "", (None, None))
    return {
        "percent": min(100, int(100 * done / total)) if done is not None and total else None,
        "bytes": size,
        "expected_bytes": seen.wanted.expected_bytes,
        "shards_done": log.shards_done,
        "shards_total": log.shards_total,
        "compile_seconds": log.compile_seconds,
        "capture_done": log.capture_done,
        "capture_total": log.capture_total,
        "capture_seconds": log.capture_seconds,
    }
