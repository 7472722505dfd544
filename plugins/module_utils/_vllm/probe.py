# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is observed of a vLLM service at one moment: Docker, systemd, logs, HTTP API and sensors."""

from __future__ import annotations

import glob
import ipaddress
import os
import shlex
import time
import typing as t
import urllib.parse

from ansible.module_utils.basic import AnsibleModule

from .._causes.machine import Shown, look
from .._causes.text import mask
from .._hf_cache.usage import cached_bytes
from .._host import turn
from .._host.clock import Clock, age_of, clock
from .._host.docker import Container, Unit, epoch, log_since, parse_inspect, parse_unit
from .._host.peers import missing, peers_of, read_connections
from .._host.reading import read_host
from .._host.services import RELEASE_LABEL, SERVICE_LABEL, holds, home_of, is_our_own
from .._host.spark import EVERYWHERE
from .._outside.command import run
from .._outside.text import plain_lines
from .._outside.values import mapping, parse_json
from .api import (
    Answer,
    Metrics,
    add_rates,
    dotenv_value,
    open_paths,
    parse_metrics,
    parse_models,
    parse_version,
    request,
)
from .health import Api, Link, Observation, Wanted, has_yet_to_start, judge, unit_is_down
from .lines import clean
from .log import LogState, parse
from .parsers import prove_parsers
from .proof import prove

COMMAND_TIMEOUT = 20
HTTP_TIMEOUT = 5
PARSERS_TIMEOUT = 120  # for the tokens of a short answer
LOG_HEAD = 3 * 1024 * 1024
LOG_TAIL = 1024 * 1024
KERNEL_LOG_SECONDS = 3600
# Seconds for a token of several hosts together: that one of them is frozen is to be known within half a minute.
UNIT_CANARY = 20


def _place(url: str) -> dict[str, t.Any]:
    """Port and address of URL; any address where it has a name."""
    try:
        place = urllib.parse.urlsplit(url)
        port = place.port
    except ValueError:
        return {}
    try:
        return {"port": port, "address": str(ipaddress.ip_address(place.hostname or ""))}
    except ValueError:
        return {"port": port, "address": EVERYWHERE}


class Probe:
    """Reads container, unit, log, API and machine once."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.options: dict[str, t.Any] = module.params
        self.docker: str | None = module.get_bin_path("docker")
        self.env_file: str | None = module.params["env_file"]
        self.key = self.read_key(self.env_file)
        self.sent_key: str | None = None  # the same, once it is clear who gets it
        self.url: str = module.params["url"].rstrip("/")
        self.bytes_read = 0  # of the last log
        self.sample: Metrics | None = None  # the counters as they were at sampled_at
        self.sampled_at = 0.0
        self.runs = False  # whether its container does
        self._host: dict[str, t.Any] | None = None

    def host(self) -> dict[str, t.Any]:
        """What the module spark_info returns. Read once; who has the port instead, where the service does not run."""
        if self._host is None:
            asked = {
                **self.options["read_host"],
                "cache": self.options["cache_path"],
                "cache_model": self.options["cache_repo"],
            }
            if asked["port"] is None and not self.runs:
                asked |= _place(self.url)
            self._host = read_host(self.module, asked)
        return self._host

    def read_key(self, path: str | None) -> str | None:
        if not path:
            return None
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return dotenv_value(file.read(), "VLLM_API_KEY")
        except OSError:  # no file, no key: the server says so if it wants one
            return None

    def run(self, command: list[str]) -> tuple[int, str, str]:
        """A command that may not hang."""
        rc, out, err = run(["timeout", str(COMMAND_TIMEOUT), *command])
        if rc == 124:
            err = f"{command[0]} {command[1]} gave no answer in {COMMAND_TIMEOUT} s"
        return rc, plain_lines(out), plain_lines(err)

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
            self.env_file = self.env_file_of(seen.container) or self.env_file
            self.key = self.read_key(self.env_file)  # before a log is read, in which it is masked
            seen.unit = self.unit(options["service"])
            seen.unit_name = options["service"].removesuffix(".service") if seen.unit else ""
            if seen.unit:
                seen.waits_for = self.waits_for(options["service"], seen.unit)
            if seen.unit and seen.unit.started_monotonic:
                seen.unit_started = time.time() - time.monotonic() + seen.unit.started_monotonic
        if seen.unit and (seen.container is None or seen.container.status != "running" or unit_is_down(seen.unit)):
            seen.unit_log = self.unit_log(options["service"], seen.unit)
        if seen.unit and seen.unit.active_state == "failed":
            seen.gave_up = "Start request repeated too quickly" in self.unit_end(options["service"])
        if seen.container is not None:
            started, age = epoch(seen.container.started_at), age_of(seen.container.pid)
            seen.clock_jump = clock(time.time(), started, age).jump
            is_running = seen.container.status == "running"
            self.runs = is_running
            seen.link = link_of(seen.container) if is_running else None
            has_api = is_running and not (seen.link and seen.link.rank)  # a worker has none
            if has_api:
                self.address(seen)
                self.begin_sample()
            if has_yet_to_start(seen):
                seen.log = self.log_of_guard(seen)
            else:
                seen.log = self.log(self.docker, seen.container, seen.clock)
            if not options["wait"]:  # while the sample grows
                seen.machine = self.machine(seen.container, seen.clock)
            if options["read_host"] is not None:
                self.host()
            if has_api:
                seen.api = self.ask(seen)
            if is_running and (seen.api is None or seen.api.health is None):
                seen.last_log = self.last_log(self.docker, seen.container, seen.clock)
            restarts = seen.container.restarts + (seen.unit.restarts if seen.unit else 0)
            if restarts and judge(seen).verdict not in ("ready", "degraded"):
                seen.previous = self.previous_log(self.docker, seen.container, seen.clock)
        if seen.container is None or (options["wait"] and judge(seen).verdict in ("failed", "stuck")):
            seen.machine = self.machine(seen.container, seen.clock)
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
        label = f"label={SERVICE_LABEL}={service.removesuffix('.service')}"
        names = self.run([docker, "ps", "--filter", label, "--format", "{{.Names}}"])[1].split()
        found = (self.inspect(docker, name)[0] for name in names)
        return next((container for container in found if container and is_our_own(container)), None)

    def unit(self, service: str) -> Unit | None:
        systemctl = self.module.get_bin_path("systemctl")
        if systemctl is None:
            return None
        properties = "LoadState,ActiveState,SubState,Result,NRestarts,InvocationID,ExecMainStartTimestampMonotonic"
        rc, out, _err = self.run([systemctl, "show", "--property", f"{properties},Conflicts", "--", service])
        return parse_unit(out) if rc == 0 else None

    def waits_for(self, service: str, unit: Unit) -> str:
        """The unit of its swap group that has the turn instead of this one; empty if none has."""
        group = turn.group_of(unit.conflicts)
        if not group or not unit_is_down(unit):
            return ""
        shown = "\n".join(self.run(command)[1] for command in turn.commands([service, *group]))
        found = turn.on_turn(service, turn.states(shown))
        return "" if found == service else found

    def unit_log(self, service: str, unit: Unit) -> str:
        """What the processes of the unit's last start wrote."""
        where = [f"_SYSTEMD_INVOCATION_ID={unit.invocation_id}"] if unit.invocation_id else ["--unit", service]
        return self.journal("200", where)

    def log_of_guard(self, seen: Observation) -> LogState:
        """What a start waits for that has no container yet. The journal of other starts holds the logs of theirs."""
        return parse(seen.unit_log) if seen.unit and seen.unit.invocation_id else LogState()

    def unit_end(self, service: str) -> str:
        """The last lines of the unit, with what systemd itself says of it."""
        return self.journal("5", ["--unit", service])

    def machine(self, container: Container | None, clock_now: Clock) -> list[Shown]:
        """What kernel log, earlyoom and sensors show since the container was started, or in the last hour."""
        started = epoch(container.started_at) if container else None
        since = f"@{max(clock_now.moment(started or 0.0), clock_now.now - KERNEL_LOG_SECONDS):.0f}"
        kernel = self.journal("2000", ["--dmesg", "--since", since], "short-unix")
        return look(kernel, self.journal("200", ["--unit", "earlyoom", "--since", since]), thermal_zones())

    def journal(self, lines: str, where: list[str], output: str = "cat") -> str:
        journalctl = self.module.get_bin_path("journalctl")
        if journalctl is None:
            return ""
        command = [journalctl, "--quiet", "--no-pager", "--output", output, "--lines", lines, *where]
        return mask(self.run(command)[1], self.key)

    def log(self, docker: str, container: Container, clock_now: Clock) -> LogState:
        """The log of this start: its beginning, where the causes are, and its end."""
        since = log_since(container, clock_now)
        text = self.logs(docker, container, ["--since", since], f"head -c {LOG_HEAD}")
        if self.bytes_read >= LOG_HEAD:
            text += "\n" + self.logs(docker, container, ["--since", since, "--tail", "5000"], f"tail -c {LOG_TAIL}")
        return parse(text)

    def last_log(self, docker: str, container: Container, clock_now: Clock) -> float | None:
        """When this start wrote its last line; when it began, if it wrote none."""
        options = ["--timestamps", "--since", log_since(container, clock_now), "--tail", "1"]
        line = self.logs(docker, container, options, "tail -n 1")
        return epoch(line.split(" ", 1)[0] if line else container.started_at)

    def previous_log(self, docker: str, container: Container, clock_now: Clock) -> LogState | None:
        until = log_since(container, clock_now)
        text = self.logs(docker, container, ["--until", until, "--tail", "2000"], f"tail -c {LOG_TAIL}")
        return parse(text) if text.strip() else None

    def logs(self, docker: str, container: Container, options: list[str], bound: str) -> str:
        # a pipe, because the log of a busy server grows without end
        command = shlex.join(["timeout", str(COMMAND_TIMEOUT), docker, "logs", *options, container.id])
        text = run(["/bin/sh", "-c", f"{command} 2>&1 | {bound}"])[1]
        self.bytes_read = len(text.encode("utf-8", "replace"))  # what is cleaned and masked may be shorter
        return mask(clean(text), self.key)

    def address(self, seen: Observation) -> None:
        """Where the server is, and whether it may have the key."""
        if not seen.is_wanted and seen.container and seen.container.published:
            self.url = f"http://{seen.container.published}"
        self.sent_key = self.key if self.may_have_key(seen.container) else None

    def ask(self, seen: Observation) -> Api:
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
        api.metrics = self.metrics()  # before the canary, which would be counted
        if self.options["canary"] and names:
            timeout = self.options["canary_timeout"]
            canary = prove(self.url, names[0], min(timeout, UNIT_CANARY) if seen.link else timeout, self.sent_key)
            api.completion, api.completion_error = canary.completion, canary.error
        if self.options["parsers"] and api.completion:
            parsed = prove_parsers(self.url, names[0], self.options["parsers"], PARSERS_TIMEOUT, self.sent_key)
            proven = dict.fromkeys(parsed.proven, "proven")
            api.parsers = {**dict.fromkeys(self.options["parsers"], "not_seen"), **proven}
            api.parser_problem = parsed.problem
        if self.sent_key and api.models_status == 200 and not (self.options["wait"] and self.is_without_guard()):
            api.open_paths = open_paths(self.url, HTTP_TIMEOUT)
        return api

    def may_have_key(self, container: Container | None) -> bool:
        """Of a service, only its own container at its own address: anybody may have its name, its label or its port."""
        if not self.options["service"]:
            return True
        return holds(container, self.url.partition("://")[2])

    def env_file_of(self, container: Container | None) -> str | None:
        """That of the release which the container is of: after an interrupted run, `current` may name another one."""
        if not self.env_file or container is None or not is_our_own(container):
            return None
        service, release = (container.labels.get(name, "") for name in (SERVICE_LABEL, RELEASE_LABEL))
        path = f"{home_of(service)}/releases/{release}/{os.path.basename(self.env_file)}"
        return path if os.path.exists(path) else None

    def is_without_guard(self) -> bool:
        """A way back may start a release of an earlier version, whose vLLM cannot ask on every path."""
        release = os.path.dirname(os.path.realpath(self.env_file or "/"))
        return not os.path.exists(os.path.join(release, "dgxspark_require_key.py"))

    def begin_sample(self) -> None:
        """The counters of now, if rates are wanted. What is read next fills the time until they are compared."""
        self.sampled_at, seconds = time.monotonic(), self.options["sample_seconds"]
        if seconds > 0:  # a server that does not answer costs no more than that
            self.sample = parse_metrics(request(f"{self.url}/metrics", seconds, self.sent_key).body)

    def metrics(self) -> Metrics | None:
        """/metrics, with what was counted a second since the sample began."""
        if self.sample is not None and not self.sample.is_idle:  # of which there is nothing to count
            time.sleep(max(0.0, self.sampled_at + self.options["sample_seconds"] - time.monotonic()))
        last = parse_metrics(self.get("/metrics").body)
        if self.sample is not None and last is not None:
            add_rates(self.sample, last, time.monotonic() - self.sampled_at)
        return last

    def get(self, path: str) -> Answer:
        return request(self.url + path, HTTP_TIMEOUT, self.sent_key)


def link_of(container: Container) -> Link | None:
    """How a container of ours is connected with those of other hosts; None if it serves alone."""
    home = home_of(container.labels.get(SERVICE_LABEL, ""))
    if home is None or not is_our_own(container):
        return None
    try:
        with open(f"{home}/releases/{container.labels[RELEASE_LABEL]}/release.json", encoding="utf-8") as file:
            peers = peers_of(mapping(parse_json(file.read())))
    except (OSError, ValueError):
        return None
    return Link(peers.rank, peers.head, missing(peers, read_connections())) if peers else None


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
