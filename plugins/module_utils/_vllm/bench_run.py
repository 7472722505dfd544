# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `vllm bench serve` in the container of a service, and looks at server and GPU before, meanwhile and after."""

from __future__ import annotations

import os
import statistics
import threading
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._causes.text import mask
from .._host.docker import Container, first_inspected, parse_inspect
from .._host.services import RELEASE_LABEL, SERVICE_LABEL, home_of, is_our_own
from .._host.spark import GPU_FIELDS, Facts, parse_gpu, throttle_verdict
from .._outside.text import plain, plain_lines
from .._outside.values import mapping, parse_json, sequence, text
from .api import Metrics, dotenv_value, error_message, generate, parse_metrics, parse_models, parse_version, request
from .benchmark import (
    REVISION_SCRIPT,
    SCRIPT,
    Cell,
    Served,
    command,
    is_foreign,
    parse_result,
    problem_of,
    served,
)

COMMAND_TIMEOUT = 20
HTTP_TIMEOUT = 10
CANARY_TIMEOUT = 60
LOOK_SECONDS = 2.0
# For the start of the client and its end, on top of its own limit.
GRACE_SECONDS = 30
_COUNTERS = ("preemptions", "prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits")


class Refused(Exception):
    """One line that says why nothing can be measured."""


class Bench:
    """The running server of a service. Nothing is done to it but requests."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.service: str = module.params["service"]
        self.docker = module.get_bin_path("docker")
        self.nvidia_smi = module.get_bin_path("nvidia-smi")
        self.container, self.inspected = self._container()
        if not self.container.published:
            raise Refused(f"{self.container.name} publishes no port; deploy the service (playbooks/deploy.yml)")
        self.url = f"http://{self.container.published}"
        self.key = self._key()
        self.served, self.model = self._served()

    # --- what serves ---------------------------------------------------------------------------------------------

    def _container(self) -> tuple[Container, Facts]:
        if self.docker is None:
            raise Refused("docker is not installed; deploy a service first (playbooks/site.yml)")
        listing = ["ps", "--filter", f"label={SERVICE_LABEL}={self.service}", "--format", "{{.Names}}"]
        code, names, error = self._run([self.docker, *listing])
        if code:
            raise Refused(f"docker does not answer: {' '.join(error.split()) or f'exit code {code}'}")
        for name in names.split():
            shown = self._run([self.docker, "inspect", "--type", "container", "--", name])[1]
            container = parse_inspect(shown)
            if container and is_our_own(container):
                return container, first_inspected(shown)
        raise Refused(
            f"service {self.service} does not run on this host; deploy it (playbooks/deploy.yml), or see why it is"
            " down (playbooks/health.yml)"
        )

    def _key(self) -> str | None:
        """Of the release that runs. Only the server of this collection gets it: its unit and its release are ours."""
        return dotenv_value(self._released(".env"), "VLLM_API_KEY")  # no file, no key: the server says if it wants one

    def _released(self, name: str) -> str:
        """A file of the release that runs; empty if it has none."""
        path = os.path.join(home_of(self.service) or "/", "releases", self.container.labels[RELEASE_LABEL], name)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def _served(self) -> tuple[Served, t.Any]:
        name = self.container.name
        answer = request(f"{self.url}/v1/models", HTTP_TIMEOUT, self.key)
        models = parse_models(answer.body) if answer.status == 200 else []
        if not models:
            raise Refused(
                f"{name} does not serve: /v1/models: {self._mask(error_message(answer))}; playbooks/health.yml names"
                " the cause"
            )
        canary = generate(self.url, models[0].id, CANARY_TIMEOUT, self.key)
        if canary.completion is None:
            raise Refused(
                f"{name} generates no text: /v1/completions: {self._mask(canary.error or '')}; playbooks/health.yml"
                " names the cause (a model for embeddings cannot be benchmarked)"
            )
        found = served(self.inspected)
        if found is None:
            raise Refused(f"{name}: its command names no model; deploy the service again (playbooks/deploy.yml)")
        return found, models[0]

    def server(self) -> Facts:
        """What serves, for the record."""
        metrics = self.metrics()
        return {
            "container": self.container.name,
            "service": self.service,
            "release": self.container.labels.get(RELEASE_LABEL),
            "profile": self.container.labels.get("dgxspark.vllm.profile"),
            "started_at": self.container.started_at,
            "image": self.container.image,
            "digest": self._digest(),
            "vllm_version": parse_version(request(f"{self.url}/version", HTTP_TIMEOUT, self.key).body),
            "model": self.served.model,
            "served_name": self.model.id,
            "revision": self.served.option("--revision") or self._revision(),
            "max_model_len": self.model.max_model_len,
            "kv_cache_tokens": metrics.kv_cache_tokens if metrics else None,
            "options": [self._mask(word) for word in self.served.words],
            "gpu": self.gpu(),
        }

    def _digest(self) -> str | None:
        """As the registry has it; the id of the image where it came from no registry.

        Docker may know none of an image that was copied from another host: its release does.
        """
        image = plain(text(self.inspected.get("Image")))
        shown = self._run([str(self.docker), "image", "inspect", "--format", "{{json .RepoDigests}}", "--", image])[1]
        recorded = mapping(parse_json(self._released("image.json")))
        known = sequence(parse_json(shown)) or (
            sequence(recorded.get("digests")) if recorded.get("id") == image else []
        )
        digests = [text(digest).rpartition("@")[2] for digest in known]
        return plain(next(iter(digests), image)) or None

    def _revision(self) -> str | None:
        folder = self.served.model.replace("/", "--")
        shown = self._run([str(self.docker), "exec", self.container.id, "sh", "-c", REVISION_SCRIPT, "sh", folder])[1]
        return plain(shown.strip())[:64] or None

    # --- looks ---------------------------------------------------------------------------------------------------

    def metrics(self) -> Metrics | None:
        return parse_metrics(request(f"{self.url}/metrics", HTTP_TIMEOUT, self.key).body)

    def gpu(self) -> Facts | None:
        """Temperature in °C, SM clock in MHz, power in W, utilization in percent; None without a GPU."""
        if self.nvidia_smi is None:
            return None
        code, csv, _error = self._run([self.nvidia_smi, f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader,nounits"])
        return parse_gpu(csv, "") if code == 0 else None

    def settle(self, seconds: float, cool_celsius: int) -> Facts:
        """Wait until the server is idle and the GPU is cool, at most SECONDS, and say whether they are."""
        begin = time.monotonic()
        while True:
            metrics, gpu = self.metrics(), self.gpu()
            requests = sum(metrics.values[name] or 0 for name in ("running", "waiting")) if metrics else None
            degrees = gpu["temperature_c"] if gpu else None
            waited = time.monotonic() - begin
            seen = {
                "idle": None if requests is None else requests == 0,
                "cool": None if degrees is None else degrees <= cool_celsius,
                "requests": requests,
                "temperature_c": degrees,
                "waited_seconds": round(waited, 1),
            }
            if (seen["idle"] is not False and seen["cool"] is not False) or waited >= seconds:
                return seen
            time.sleep(min(LOOK_SECONDS, max(0.1, seconds - waited)))

    # --- one run -------------------------------------------------------------------------------------------------

    def run(self, cell: Cell, repetition: int, seed: int, seconds: float, settled: Facts) -> Facts:
        """One run of a cell, with what was seen around it. SECONDS is the limit of the client."""
        limit = max(1, int(seconds))  # 0 is none
        before, gpu_before = self.metrics(), self.gpu()
        argv = command(cell, self.served, self.model.id, seed)
        execute = [str(self.docker), "exec", self.container.id, "sh", "-c", SCRIPT, "sh", str(limit), *argv]
        with Sampler(self.gpu) as sampler:
            code, out, err = self._run(execute, limit + GRACE_SECONDS)
        after = self.metrics()
        result = parse_result(out)
        problem = self._restarted(cell) or problem_of(cell, code, result, err, limit)
        return {
            "cell": cell.as_dict(),
            "repetition": repetition,
            "seed": seed,
            "result": result,
            "problem": self._mask(problem) if problem else None,
            "settled": settled,
            "gpu_before": gpu_before,
            "gpu_during": sampler.summary(),
            "gpu_after": self.gpu(),
            "server": self._delta(cell, before, after),
        }

    def _restarted(self, cell: Cell) -> str | None:
        shown = self._run([str(self.docker), "inspect", "--type", "container", "--", self.container.id])[1]
        now = parse_inspect(shown)
        if now is None or now.status != "running" or now.started_at != self.container.started_at:
            return f"{cell.name}: the server ended during the run; playbooks/health.yml names the cause"
        return None

    @staticmethod
    def _delta(cell: Cell, before: Metrics | None, after: Metrics | None) -> Facts:
        """What the server's own counters say of the time of the run."""
        first, last = (metrics.values if metrics else {} for metrics in (before, after))
        counted: Facts = {
            name: last[name] - first[name] if last.get(name) is not None and first.get(name) is not None else None
            for name in _COUNTERS
        }
        counted["preemptions_before"], counted["preemptions_after"] = first.get("preemptions"), last.get("preemptions")
        counted["others"] = is_foreign(cell, counted["generation_tokens"])
        return counted

    def _run(self, argv: list[str], seconds: float = COMMAND_TIMEOUT) -> tuple[int, str, str]:
        """A command that may not hang."""
        code, out, err = self.module.run_command(["timeout", "--kill-after=5", str(int(seconds)), *argv])
        return code, plain_lines(out), self._mask(plain_lines(err))

    def _mask(self, said: str) -> str:
        return mask(said, getattr(self, "key", None))


class Sampler:
    """Looks at the GPU while something else runs: idle clocks say nothing of a load."""

    def __init__(self, look: t.Callable[[], Facts | None]) -> None:
        self._look = look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.seen: list[Facts] = []

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(COMMAND_TIMEOUT)

    def _sample(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            seen = self._look()
            if seen is not None:
                self.seen.append(seen)

    def summary(self) -> Facts | None:
        """Median clock and power, highest temperature, and whether the GPU was throttled; None without a sample."""
        if not self.seen:
            return None
        verdicts = [throttle_verdict(seen)["throttled"] for seen in self.seen]
        judged = [verdict for verdict in verdicts if verdict is not None]

        def values(name: str) -> list[float]:
            return [mapping(seen)[name] for seen in self.seen if seen[name] is not None]

        return {
            "samples": len(self.seen),
            "sm_clock_mhz": statistics.median(values("sm_clock_mhz")) if values("sm_clock_mhz") else None,
            "power_w": statistics.median(values("power_w")) if values("power_w") else None,
            "temperature_c": max(values("temperature_c"), default=None),
            # of most samples: one of the first second, before the clocks rise, is no sign
            "throttled": statistics.mode(judged) if judged else None,
        }
