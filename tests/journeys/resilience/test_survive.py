# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that loses its engine, its container, Docker or its power: it answers again by itself, or says why not."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CONTAINER
from support.waiting import wait_until

from .conftest import Machine

ENGINE = f"docker top {CONTAINER} -eo pid,args | awk '/VLLM::EngineCore/ {{print $1}}'"
KILLS: dict[str, Callable[[Machine], Any]] = {
    "kill -9 of the engine": lambda machine: machine.root(f"{ENGINE} | xargs kill -KILL"),
    "docker kill": lambda machine: machine.root(f"docker kill {CONTAINER}"),
    "kill -9 of dockerd": lambda machine: machine.root("kill -KILL $(pidof dockerd)"),
    "power cut": lambda machine: machine.cut_power(),
}


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("kill", KILLS)
def test_killed_while_it_serves(recovers: Callable[..., None], serving: Machine, kill: str) -> None:
    recovers(f"{kill}, serving", lambda: KILLS[kill](serving))


@pytest.mark.in_turn(2, first=1)
@pytest.mark.parametrize("kill", KILLS)
def test_killed_while_it_loads(recovers: Callable[..., None], serving: Machine, kill: str) -> None:
    """Two are told to start anew by way of Docker, which brings the service back as well."""
    begin = {
        "kill -9 of the engine": "systemctl restart docker",
        "docker kill": "systemctl stop docker.socket docker && systemctl start docker",
    }.get(kill, "systemctl restart vllm")
    serving.root(begin)
    wait_until(serving.is_loading, "it loads")
    recovers(f"{kill}, loading", lambda: KILLS[kill](serving))


def test_maintained_with_a_reboot(serving: Machine, ansible_playbook: AnsiblePlaybook) -> None:
    before = serving.started()
    with serving.sandbox.on_again(serving.name):
        run = ansible_playbook("playbooks/maintain.yml", serving.limit, vllm_os_upgrade="none", vllm_os_reboot="always")
    assert run.code == 0, run.output
    assert serving.answers()
    assert serving.started() > before
    # nothing is left to do
    run = ansible_playbook("playbooks/maintain.yml", serving.limit, vllm_os_upgrade="none")
    assert "changed=0" in run.output, run.output
    assert serving.unit("ActiveState") == "active"


def test_a_busy_server_is_left_alone(serving: Machine) -> None:
    """No look gets its token in time, and the engine computes all the while."""
    before = serving.unit("InvocationID")
    long = '{"model": "Qwen/Qwen3-8B-FP8", "prompt": "Hello", "max_tokens": 30000, "ignore_eos": true}'
    ask = f"curl --silent --output /dev/null --data '{long}' --header 'Content-Type: application/json'"
    again_and_again = f"while :; do {ask} http://127.0.0.1:8000/v1/completions; sleep 1; done"
    # The engine's processes wait for each other in a loop, on all processors: a small host would answer nobody.
    serving.root(f"docker update --cpus=1 {CONTAINER}")
    serving.root(f"systemd-run --collect --unit=busy sh -c {shlex.quote(again_and_again)}")
    serving.parameters(canary_timeout=0.001)
    try:
        looks = set[str]()
        look = "systemctl show --property=InvocationID --value vllm-watchdog"
        wait_until(lambda: looks.add(serving.root(look)) or len(looks) > 6, "the watchdog has looked often enough")
    finally:
        serving.root(f"systemctl stop busy; docker update --cpus=$(nproc) {CONTAINER}")
        serving.parameters(canary_timeout=4)
    assert serving.unit("InvocationID") == before
    assert '"silent": 0' in serving.root("cat /opt/vllm/state/watchdog.json")


def test_a_frozen_engine_is_restarted(recovers: Callable[..., None], serving: Machine) -> None:
    """And /health is fine meanwhile. The journal says why."""
    wait_until(
        lambda: serving.run("test ! -e /opt/vllm/state/tries.json").returncode == 0, "the watchdog has seen an answer"
    )

    since = serving.root("date +%s")

    def freeze() -> None:
        serving.root(f"{ENGINE} | xargs kill -STOP")
        serving.root("curl --fail --silent http://127.0.0.1:8000/health")

    # three looks of 4 s, 2 s apart
    recovers("SIGSTOP of the engine", freeze, extra=30)
    journal = serving.root(f"journalctl --unit vllm-watchdog --output cat --since=@{since}")
    assert "no token: timeout" in journal
    assert "frozen: 3 looks without a token or any other move of the engine; restarting" in journal


def told(run: Run) -> str:
    """What health.yml says of a host that is not ready, in one line."""
    assert run.code != 0, run.output
    assert "Traceback" not in run.output
    return run.words


def test_a_start_without_memory_is_refused_four_times_in_half_an_hour(
    machine: Machine, ansible_playbook: AnsiblePlaybook
) -> None:
    """The host stays up, empty and reachable."""
    machine.start()
    total = int(machine.root("awk '/^MemTotal:/ {print $2}' /proc/meminfo")) * 1024
    machine.parameters(needed_bytes=total, wait_seconds=1)  # more would not be waited for
    try:
        machine.root(f"docker kill {CONTAINER}")
        wait_until(lambda: machine.unit("ActiveState") == "failed", "systemd gives up")
    finally:
        machine.parameters(needed_bytes=0)
    said = told(ansible_playbook("playbooks/health.yml", machine.limit))
    assert "failed: systemd stopped restarting it after four failures in 30 minutes" in said
    assert f"in 30 minutes: the service waits for {total / 1024**3:.1f} GiB of memory and has" in said
    assert "most is held by" in said
    assert "remedy: stop what holds the memory, or lower vllm_gpu_memory_utilization" in said
    assert "After that deploy again, or run `systemctl reset-failed` and `systemctl start vllm`" in said
    assert machine.root("docker ps --quiet") == ""


def test_a_release_that_takes_the_host_down_is_not_started_for_ever(
    machine: Machine, ansible_playbook: AnsiblePlaybook
) -> None:
    machine.root("systemctl stop vllm")
    machine.start()
    for number in range(1, 5):
        wait_until(machine.is_up, "the host is up")
        # not before: a cut as the container starts can leave the port taken (docs/reference/supervision.md)
        wait_until(machine.is_loading, f"start {number} loads")
        assert machine.starts() == number
        machine.cut_power()
    wait_until(machine.is_up, "the host is up")
    wait_until(lambda: machine.unit("Result") == "exec-condition", "the fifth start is refused")

    said = told(ansible_playbook("playbooks/health.yml", machine.limit))
    assert re.search(r"failed: release \w+ was started 4 times since .{16} and never answered", said)
    remedy = re.search(r"to start it as it is, run on the host: (sudo python3 .+? && sudo systemctl start vllm)", said)
    assert remedy, said

    machine.root("systemctl reset-failed vllm; systemctl start vllm")
    assert machine.unit("ActiveState") == "inactive"
    machine.root(remedy[1])
    assert machine.unit("ActiveState") == "active"
