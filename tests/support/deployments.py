# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What journeys deploy, what serves then, and a client that never stops asking."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any, NamedTuple

import yaml

from support.paths import FIXTURES
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import HUB, IMAGE, MODEL, Spark

TINY = "models--sandbox--tiny"

# Compiling is not what is tested here.
EAGER = {"enforce_eager": True}
# What the hosts serve before and after most of the tests.
A: dict[str, Any] = {"vllm_extra_args": EAGER}
# Another model, which the hub has under this name.
B: dict[str, Any] = {
    "vllm_extra_args": EAGER,
    "vllm_model": "tiny",
    "vllm_models": {
        "qwen3-8b-fp8": {"weights_bytes": 112840384},
        "tiny": {
            "id": "sandbox/tiny",
            "weights_bytes": 400000,
            "layers": 2,
            "kv_heads": 2,
            "head_dim": 32,
            "native_context": 40960,
        },
    },
}

ASK_FOR_EVER = """
import http.client, time, urllib.request
while True:
    begin = time.time()
    try:
        with urllib.request.urlopen("http://127.0.0.1:8000/v1/models", timeout=10) as answer:
            answer.read()
        outcome = "answered"
    except (OSError, http.client.HTTPException) as error:
        slow = isinstance(getattr(error, "reason", error), TimeoutError)
        outcome = "slow" if slow else "refused"
    print(begin, time.time(), outcome, flush=True)
    time.sleep(max(0, 0.2 - (time.time() - begin)))
"""


class Attempt(NamedTuple):
    begin: float
    end: float
    outcome: str  # answered, refused, or slow: no answer within 10 s, which a busy machine gives, too


class Client:
    """Asks the server of a host every 0.2 s, from the host itself, and remembers when it was answered."""

    def __init__(self, spark: Spark) -> None:
        self.answers: list[Attempt] = []
        self.process = subprocess.Popen(
            spark.ssh.command() + ["exec python3 -"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(ASK_FOR_EVER)
        self.process.stdin.close()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            begin, end, outcome = line.split()
            self.answers.append(Attempt(float(begin), float(end), outcome))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def answered(self) -> bool:
        return bool(self.answers) and self.answers[-1].outcome == "answered"

    def gaps(self) -> list[tuple[float, float]]:
        """From when to when nobody answered: from the end of the last answer before to that of the first one after.

        Somebody was turned away in between, or it is no gap: an answer that takes long is one all the same.
        """
        found, last, refused = [], None, False
        for attempt in self.answers:
            refused |= attempt.outcome == "refused"
            if attempt.outcome == "answered":
                if last is not None and refused and attempt.end - last > 1:
                    found.append((last, attempt.end))
                last, refused = attempt.end, False
        return found


def running(spark: Spark) -> tuple[str, str]:
    """The release that runs, and since when its container does."""
    form = '{{index .Config.Labels "dgxspark.vllm.release"}} {{.State.StartedAt}}'
    ask = f"docker inspect --format '{form}' $(docker ps --quiet --filter label=dgxspark.vllm.service=vllm)"
    release, since = spark.root(ask).split()
    return release, since


def mark_home(spark: Spark, service: str = "vllm") -> None:
    """The folder of a service, for what a test puts into it before the first deployment. It may be there already."""
    marker = json.dumps({"service": service, "made": ["cache"]})
    home = f"/opt/{service}"
    spark.root(f"mkdir -p {home}/cache; test -e {home}/.dgxspark-vllm || echo '{marker}' >{home}/.dgxspark-vllm")


def guides_project(spark: Spark, folder: str, model: str = MODEL) -> None:
    """The guide's own compose file on a host, with what has to differ in the sandbox."""
    project = yaml.safe_load((FIXTURES / "guide/compose.yaml").read_text())
    (service,) = project["services"].values()
    service["image"] = IMAGE
    service["ulimits"]["memlock"] = 8388608
    service["environment"]["HF_ENDPOINT"] = HUB
    service["command"][2] = model
    service["command"].append("--enforce-eager")
    spark.check_output("mkdir -p %s", folder)
    spark.check_output("printf %%s %s >%s/compose.yaml", yaml.safe_dump(project), folder)
    spark.check_output("echo HF_TOKEN=hf_sandboxgranted >%s/.env", folder)


def deployed(ansible_playbook: AnsiblePlaybook, variables: dict[str, Any], *arguments: str) -> Run:
    run = ansible_playbook("playbooks/deploy.yml", *arguments, **variables)
    assert run.code == 0, run.output
    return run
