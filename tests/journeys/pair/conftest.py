# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair that serves, with watchdogs in a hurry."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CONTAINER, MODEL, Sandbox, Spark
from support.waiting import wait_until

HOME = "/opt/vllm"
# What two Sparks have in their inventory. Under the guide's tag lies vLLM 0.32 here; compiling is not tested.
PAIR: dict[str, Any] = {
    "vllm_nodes": ["spark01", "spark02"],
    "vllm_node_address": "{{ ansible_host }}",
    "vllm_images": {"nvcr.io/nvidia/vllm:25.09-py3": {"faults": [], "vllm": "0.32.0", "multi_node": True}},
    "vllm_extra_args": {"enforce_eager": True},
}
ASK = (
    "curl --fail --silent --max-time 5 --header 'Content-Type: application/json'"
    f' --data \'{{"model": "{MODEL}", "prompt": "Hello", "max_tokens": 4}}\' http://127.0.0.1:8000/v1/completions'
)
# An empty OnActiveSec= forgets all times of the timer.
HURRY = "/etc/systemd/system/vllm-watchdog.timer.d"
IN_A_HURRY = r"[Timer]\nOnActiveSec=\nOnActiveSec=2\nOnUnitInactiveSec=2\n"


class Pair:
    """Head and worker, by what an operator sees of them."""

    def __init__(self, hosts: dict[str, Spark], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.head, self.worker = (hosts[name] for name in PAIR["vllm_nodes"])
        self.hosts = (self.head, self.worker)

    def answers(self) -> bool:
        with self.head.sudo():
            return self.head.run("sh -c %s", ASK).rc == 0

    def started(self) -> list[str]:
        """When the containers were started."""
        return [host.root(f"docker inspect --format '{{{{.State.StartedAt}}}}' {CONTAINER}") for host in self.hosts]

    def serves_anew(self, before: list[str]) -> bool:
        with contextlib.suppress(RuntimeError, AssertionError):  # a host that boots, Docker that starts
            return all(now != then for now, then in zip(self.started(), before, strict=True)) and self.answers()
        return False

    def cut(self) -> None:
        """No packet between the two, until the head has been restarted and waits for the worker."""
        address = self.head.ssh.address
        rules = [f"INPUT -s {address}", f"OUTPUT -d {address}"]
        begin = time.monotonic()
        self.worker.root("; ".join(f"iptables -w -I {rule} -j DROP" for rule in rules))
        try:
            wait_until(
                lambda: (
                    self.head.root("systemctl is-active vllm || true") == "activating" and time.monotonic() - begin > 30
                ),
                "the head was restarted, and waits",
            )
        finally:
            self.worker.root("; ".join(f"iptables -w -D {rule} -j DROP" for rule in rules))

    def releases(self, link: str = "current") -> list[str]:
        return [host.root(f"readlink {HOME}/{link}").rpartition("/")[2] for host in self.hosts]

    def forget(self) -> None:
        """What a test has done to the pair counts against none of its limits."""
        for host in self.hosts:
            host.root(
                f"python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm {HOME}; systemctl start --no-block vllm"
            )

    def hurry(self) -> None:
        """Keys of release.json: less time for a token, a token with each look, and a cut counts sooner."""
        for host in self.hosts:
            path = f"{HOME}/current/release.json"
            values = {**json.loads(host.root(f"cat {path}")), "canary_timeout": 6, "canary_every": 1, "cut_for": 20}
            host.root(f"printf %s {shlex.quote(json.dumps(values))} > {path}")


@pytest.fixture(scope="module")
def deployment(two_hosts: dict[str, Spark], ansible_playbook: AnsiblePlaybook) -> Iterator[Run]:
    run = ansible_playbook("playbooks/deploy.yml", **PAIR)
    assert run.code == 0, run.output
    for spark in two_hosts.values():
        spark.root(f"mkdir -p {HURRY}; printf '{IN_A_HURRY}' > {HURRY}/hurry.conf")
        spark.root("systemctl daemon-reload; systemctl restart vllm-watchdog.timer")
    yield run
    for spark in two_hosts.values():
        spark.root(f"rm -rf {HURRY}; systemctl daemon-reload")
    removed = ansible_playbook("playbooks/uninstall.yml", **PAIR)
    assert removed.code == 0, removed.output


@pytest.fixture
def pair(deployment: Run, two_hosts: dict[str, Spark], sandbox: Sandbox) -> Pair:
    """It serves, whatever the test before has done to it."""
    pair = Pair(two_hosts, sandbox)
    pair.forget()
    pair.hurry()
    wait_until(pair.answers, "the pair serves", timeout=300)
    return pair


@pytest.fixture
def heals(pair: Pair, figure: Callable[[str], None]) -> Callable[[str, Callable[[], Any]], None]:
    """Does something to one of them: the pair serves again by itself, both anew."""

    def heals(what: str, do: Callable[[], Any]) -> None:
        before = pair.started()
        begin = time.monotonic()
        do()
        wait_until(lambda: pair.serves_anew(before), f"{what}: both were started anew, and it answers", timeout=400)
        figure(f"{what}: a token came again after {time.monotonic() - begin:.0f} s")

    return heals


@pytest.fixture
def unwatched(pair: Pair) -> Iterator[Pair]:
    """Nobody heals it."""
    for host in pair.hosts:
        host.root("systemctl stop vllm-watchdog.timer vllm-watchdog")
    yield pair
    for host in pair.hosts:
        host.root("systemctl stop vllm; systemctl start --no-block vllm; systemctl start vllm-watchdog.timer")
