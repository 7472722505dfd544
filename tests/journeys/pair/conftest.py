# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair that serves, with watchdogs in a hurry."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
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

    @contextmanager
    def after(self, host: Spark, script: str) -> Iterator[None]:
        """A fault that lasts until the pair has healed."""
        host.root(script)
        yield

    @contextmanager
    def without_power(self, host: Spark) -> Iterator[None]:
        self.sandbox.cut_power(host.name)
        yield

    @contextmanager
    def cut(self) -> Iterator[None]:
        """No packet between the two, until the head has been restarted and waits for the worker."""
        address = self.head.ssh.address
        rules = [f"INPUT -s {address}", f"OUTPUT -d {address}"]
        begin = time.monotonic()
        self.worker.root("; ".join(f"iptables -w -I {rule} -j DROP" for rule in rules))
        try:
            yield
            wait_until(
                lambda: (
                    self.head.root("systemctl is-active vllm || true") == "activating" and time.monotonic() - begin > 30
                ),
                "the head was restarted, and waits",
            )
        finally:
            self.worker.root("; ".join(f"iptables -w -D {rule} -j DROP" for rule in rules))

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """No watchdog heals it: what is seen meanwhile is the fault."""
        for host in self.hosts:
            host.root("systemctl stop vllm-watchdog.timer vllm-watchdog")
        try:
            yield
        finally:
            for host in self.hosts:
                wait_until(lambda: self._watches(host), f"{host.name} has its watchdog again")  # noqa: B023 at once

    @staticmethod
    def _watches(host: Spark) -> bool:
        with contextlib.suppress(RuntimeError, AssertionError):  # a host that boots
            host.root("systemctl start vllm-watchdog.timer")
            return True
        return False

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
def said(ansible_playbook: AnsiblePlaybook, figure: Callable[[str], None]) -> Callable[[str, str], None]:
    """health.yml names the fault that has just been: which hosts do not serve, and that a peer is lost."""

    def said(what: str, verdict: str) -> None:
        begin = time.monotonic()
        run = ansible_playbook("playbooks/health.yml", **PAIR)
        figure(f"{what}: health.yml said so after {time.monotonic() - begin:.0f} s")
        assert run.code != 0, run.output
        assert re.search(verdict, run.words), run.output
        assert "another host of vllm_nodes ended, hangs, or cannot be reached" in run.words, run.output
        assert not re.search(r"2 hosts: (?:\d \w+, )*\d ready", run.words), run.output

    return said


@pytest.fixture
def heals(
    pair: Pair, said: Callable[[str, str], None], figure: Callable[[str], None]
) -> Callable[[str, AbstractContextManager[None], str], None]:
    """A fault of one of them: health.yml names it, and the pair serves again by itself, both anew."""

    def heals(what: str, fault: AbstractContextManager[None], verdict: str) -> None:
        before = pair.started()
        begin = time.monotonic()
        with ExitStack() as watched_again:
            watched_again.enter_context(pair.unwatched())
            with fault:
                said(what, verdict)
                watched_again.close()
        wait_until(lambda: pair.serves_anew(before), f"{what}: both were started anew, and it answers", timeout=400)
        figure(f"{what}: a token came again after {time.monotonic() - begin:.0f} s")

    return heals


@pytest.fixture
def unwatched(pair: Pair) -> Iterator[Pair]:
    """Nobody heals it."""
    with pair.unwatched():
        yield pair
        for host in pair.hosts:
            host.root("systemctl stop vllm; systemctl start --no-block vllm")
