# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair is one thing: it is deployed, restarted and stopped as a whole, and heals as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CONTAINER

from .conftest import ASK, PAIR, Pair

WORKER = f"docker top {CONTAINER} -eo pid,args | awk '/VLLM::Worker/ {{print $1}}'"


def test_both_serve_one_model(deployment: Run, pair: Pair) -> None:
    answer = json.loads(pair.head.root(ASK))
    assert answer["usage"]["completion_tokens"] == 4, answer
    for rank, host in enumerate(pair.hosts):
        command = " ".join(host.inspect()["Args"])
        assert f"--nnodes 2 --node-rank {rank}" in command
        assert "--tensor-parallel-size 2" in command
    assert pair.releases("current") == pair.releases("good")
    assert re.search(r"spark02 .* (ready|unchanged), with spark01", deployment.output), deployment.output


def test_health_knows_both(pair: Pair, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/health.yml", **PAIR)
    assert run.code == 0, run.output
    assert "2 hosts: 2 ready" in run.words


def test_a_second_deployment_changes_nothing(pair: Pair, ansible_playbook: AnsiblePlaybook) -> None:
    before = pair.started()
    run = ansible_playbook("playbooks/deploy.yml", **PAIR)
    assert run.code == 0, run.output
    assert [run.count(host.name, "changed") for host in pair.hosts] == [0, 0], run.output
    assert pair.started() == before


@pytest.mark.parametrize("playbook", ["deploy", "restart", "stop", "rollback", "uninstall"])
def test_one_of_them_alone_is_refused(playbook: str, pair: Pair, ansible_playbook: AnsiblePlaybook) -> None:
    before = pair.started()
    run = ansible_playbook(f"playbooks/{playbook}.yml", pair.worker.limit, **PAIR)
    assert run.code != 0, run.output
    assert "spark02 serves together with spark01; run it on all of them: -l spark01,spark02" in run.words
    assert pair.started() == before


# What health.yml says of them.
HEAD_LOST_IT, WORKER_LOST_IT, BOTH = (rf"{hosts} \| degraded" for hosts in ("spark01", "spark02", "spark01, spark02"))
FAULTS: dict[str, tuple[Callable[[Pair], Any], str]] = {
    "worker stopped": (lambda pair: pair.worker.root("systemctl stop vllm"), HEAD_LOST_IT),
    "worker frozen": (lambda pair: pair.worker.root(f"{WORKER} | xargs kill -STOP"), BOTH),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_health_says_that_a_peer_is_lost(fault: str, unwatched: Pair, said: Callable[[str, str], None]) -> None:
    do, verdict = FAULTS[fault]
    do(unwatched)
    said(fault, verdict)


# Of the one that was killed or has no power, the other one says so: itself it starts again, or cannot be reached.
KILLS: dict[str, tuple[Callable[[Pair], AbstractContextManager[None]], str]] = {
    "docker kill of the worker": (lambda pair: pair.after(pair.worker, f"docker kill {CONTAINER}"), HEAD_LOST_IT),
    "SIGSTOP of the worker": (lambda pair: pair.after(pair.worker, f"{WORKER} | xargs kill -STOP"), BOTH),
    "docker kill of the head": (lambda pair: pair.after(pair.head, f"docker kill {CONTAINER}"), WORKER_LOST_IT),
    "SIGSTOP of the head": (lambda pair: pair.after(pair.head, f"{WORKER} | xargs kill -STOP"), BOTH),
    "power cut of the worker": (lambda pair: pair.without_power(pair.worker), HEAD_LOST_IT),
    "power cut of the head": (lambda pair: pair.without_power(pair.head), WORKER_LOST_IT),
    "no network between the two": (lambda pair: pair.cut(), BOTH),
}


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("kill", KILLS)
def test_it_heals_as_a_whole(heals: Callable[..., None], pair: Pair, kill: str) -> None:
    fault, verdict = KILLS[kill]
    heals(kill, fault(pair), verdict)


def test_a_bad_release_is_rolled_back_on_both(pair: Pair, ansible_playbook: AnsiblePlaybook) -> None:
    before = pair.releases()
    bad = {**PAIR, "vllm_extra_args": {"enforce_eager": True, "quantization": "awq"}}
    run = ansible_playbook("playbooks/deploy.yml", **bad)
    assert run.code != 0
    assert f"The last good release ({before[0]}) serves again." in run.words, run.output
    assert re.search(r"spark02 .* rolled back, with spark01", run.output), run.output
    assert (pair.releases(), pair.releases("good")) == (before, before)
    assert pair.answers()


def test_restart_and_stop(pair: Pair, ansible_playbook: AnsiblePlaybook) -> None:
    before = pair.started()
    run = ansible_playbook("playbooks/restart.yml", **PAIR)
    assert run.code == 0, run.output
    assert all(now != then for now, then in zip(pair.started(), before, strict=True))
    run = ansible_playbook("playbooks/stop.yml", **PAIR)
    assert run.code == 0, run.output
    for host in pair.hosts:
        assert host.root("docker ps --quiet") == ""
        assert host.root("systemctl is-enabled vllm || true") == "disabled"
    run = ansible_playbook("playbooks/restart.yml", **PAIR)
    assert run.code == 0, run.output
    assert pair.answers()
