# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that may lose its power at any time, and the seconds that it took to answer again."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.playbook import AnsiblePlaybook
from support.sandbox import CONTAINER, MODEL, Sandbox, Spark
from support.waiting import wait_until

HOME = "/opt/vllm"
ASK = (
    "curl --fail --silent --max-time 5 --output /dev/null --header 'Content-Type: application/json'"
    f' --data \'{{"model": "{MODEL}", "prompt": "Hello", "max_tokens": 1}}\' http://127.0.0.1:8000/v1/completions'
)
# An empty OnActiveSec= forgets all times of the timer.
HURRY = "/etc/systemd/system/vllm-watchdog.timer.d"
IN_A_HURRY = r"[Timer]\nOnActiveSec=\nOnActiveSec=2\nOnUnitInactiveSec=2\n"


@dataclass
class Recovery:
    what: str
    started: float  # seconds until the container runs again
    answered: float  # seconds until a token comes again
    bare: float  # seconds of the engine's start alone


seen: list[Recovery] = []


class Machine:
    """The host, over a new SSH connection each time: an open one would not notice a power cut for long."""

    def __init__(self, spark: Spark, sandbox: Sandbox) -> None:
        self.name, self.limit = spark.name, spark.limit
        self.ssh = spark.ssh
        self.sandbox = sandbox

    def run(self, script: str, connect: int = 2) -> subprocess.CompletedProcess[str]:
        """`connect`: seconds until there is a connection. Whoever asks again and again has few."""
        command = [*self.ssh.command("-oControlPath=none", f"-oConnectTimeout={connect}")]
        command.append(f"sudo sh -euc {shlex.quote(script)}")
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def root(self, script: str) -> str:
        done = self.run(script, connect=60)  # a host that computes is slow to take one
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def answers(self) -> bool:
        return self.run(ASK).returncode == 0

    def is_up(self) -> bool:
        return self.run("true").returncode == 0

    def is_loading(self) -> bool:
        """vLLM has begun to load, and does not answer yet."""
        engine = f"docker top {CONTAINER} -eo pid,args | grep --quiet VLLM::EngineCore"
        return self.run(engine).returncode == 0 and not self.answers()

    def starts(self) -> int:
        """How many starts the guard has counted since the last answer."""
        text = self.run(f"cat {HOME}/state/tries.json").stdout
        return len(json.loads(text)["starts"]) if text else 0

    def started(self) -> float:
        """When the container was started; host and controller have one clock."""
        return float(self.root(f"date --date=$(docker inspect --format '{{{{.State.StartedAt}}}}' {CONTAINER}) +%s.%N"))

    def unit(self, what: str) -> str:
        return self.root(f"systemctl show --property={what} --value vllm")

    def start(self) -> None:
        """If it is down. What a test does to the service counts against none of its limits."""
        self.root(f"python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm {HOME} && systemctl start vllm")

    def cut_power(self) -> None:
        self.sandbox.cut_power(self.name)

    def parameters(self, **values: Any) -> None:
        """What guard and watchdog read of the release, changed in place."""
        path = f"{HOME}/current/release.json"
        text = json.dumps({**json.loads(self.root(f"cat {path}")), **values})
        self.root(f"printf %s {shlex.quote(text)} > {path}")


@pytest.fixture(scope="module")
def machine(prepared: Spark, sandbox: Sandbox, ansible_playbook: AnsiblePlaybook) -> Iterator[Machine]:
    """A host that serves, with a watchdog in a hurry."""
    machine = Machine(prepared, sandbox)
    # compiling is not what is tested here
    run = ansible_playbook("playbooks/deploy.yml", machine.limit, vllm_extra_args={"enforce_eager": True})
    assert run.code == 0, run.output
    machine.root(f"mkdir -p {HURRY}; printf '{IN_A_HURRY}' > {HURRY}/hurry.conf")
    machine.root("systemctl daemon-reload; systemctl restart vllm-watchdog.timer")
    machine.parameters(canary_timeout=4)
    yield machine
    machine.root(f"rm -rf {HURRY}")
    removed = ansible_playbook("playbooks/uninstall.yml", machine.limit)
    assert removed.code == 0, removed.output
    left = machine.root("systemctl list-unit-files 'vllm*' --no-legend --quiet || true; ls -d /opt/vllm || true")
    assert left == ""


@pytest.fixture
def serving(machine: Machine) -> Machine:
    """Whatever the test before has done to it."""
    machine.start()
    wait_until(machine.answers, "it serves")
    return machine


@pytest.fixture(scope="module")
def engine_alone(machine: Machine) -> Callable[[str], float]:
    """Seconds of the engine's start alone: the same container, without systemd."""

    def engine_alone(what: str) -> float:
        machine.root("systemctl stop vllm")
        begin = time.monotonic()
        machine.root(f"docker start {CONTAINER}")
        wait_until(machine.answers, "the container alone")
        took = time.monotonic() - begin
        machine.root("systemctl start vllm")  # it takes the running container over
        seen.append(Recovery(what, 0, took, took))
        return took

    return engine_alone


@pytest.fixture(scope="module")
def bare(engine_alone: Callable[[str], float]) -> float:
    return engine_alone("the engine alone")


@pytest.fixture
def recovers(
    machine: Machine, bare: float, engine_alone: Callable[[str], float]
) -> Callable[[str, Callable[[], Any]], None]:
    """Does something, and sees the server answer again by itself in time."""

    def recovers(what: str, do: Callable[[], Any], extra: float = 0) -> None:
        begin = time.time()
        do()
        wait_until(lambda: not machine.answers(), f"{what}: it takes effect")
        silent = time.time()
        wait_until(machine.answers, f"{what}: it answers again", timeout=600)
        took = time.time() - silent
        seen.append(Recovery(what, machine.started() - begin, time.time() - begin, bare))
        longest = bare
        if took > longest + 30 + extra:  # the machine may have more to do than it had then
            longest = max(bare, engine_alone(f"the engine alone, after: {what}"))
        assert took <= longest + 30 + extra, f"{what}: {took:.1f} s, and the engine alone takes {longest:.1f} s"

    return recovers


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not seen:
        return
    terminalreporter.section("seconds until the container runs, until it answers, and over the engine's start alone")
    for row in seen:
        over = row.answered - row.bare
        terminalreporter.write_line(f"{row.started:6.1f} {row.answered:6.1f} {over:+6.1f}  {row.what}")
