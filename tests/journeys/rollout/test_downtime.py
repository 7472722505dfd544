# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From model A to model B: how long nobody answers, beside the guide's procedure and the bare start of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.deployments import TINY, A, B, Client, deployed, guides_project, running
from support.playbook import AnsiblePlaybook
from support.sandbox import CACHE, Spark
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("two_hosts")

GUIDE = "/home/dgx/guide"


@pytest.fixture(scope="module")
def serving(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    """A serves, and B's model is nowhere on the host."""
    deployed(ansible_playbook, A, spark.limit)


@pytest.fixture(scope="module")
def guides_seconds(two_hosts: dict[str, Spark]) -> float:
    """The guide's `up -d` of B on a host that has neither image nor model; `stop` of what ran before comes on top."""
    spark = two_hosts["spark02"]
    guides_project(spark, GUIDE, model="sandbox/tiny")
    spark.root(
        "systemctl stop vllm 2>/dev/null || true; docker ps --all --quiet | xargs --no-run-if-empty docker rm -f"
    )
    spark.root(f"docker image prune --all --force; rm -rf {CACHE}/{TINY} {CACHE}/hub")
    with Client(spark) as client:
        wait_until(lambda: client.answers, "the client asks")
        begin = client.answers[-1].begin
        spark.root(f"cd {GUIDE} && docker compose up -d")
        wait_until(lambda: client.answered, "the guide's server answers", timeout=600)
        seconds = client.answers[-1].end - begin
    spark.root(f"cd {GUIDE} && docker compose down; rm -rf {GUIDE} {CACHE}/{TINY} {CACHE}/hub {CACHE}/*.lock")
    return seconds


def bare_start(spark: Spark) -> float:
    """Seconds of the start of what serves, without systemd and without the role."""
    with Client(spark) as client:
        spark.root("systemctl stop vllm")
        wait_until(lambda: client.answers and not client.answered, "nobody answers")
        begin = client.answers[-1].begin
        spark.root("cd /opt/vllm/current && docker compose start")
        wait_until(lambda: client.answered, "the bare engine answers")
        seconds = client.answers[-1].end - begin
    spark.root("systemctl start vllm")  # it takes the running container over
    return seconds


@pytest.fixture(scope="module")
def bare_before(spark: Spark, serving: None) -> float:
    """Of A, for B is not there yet: the same engine, and how quick the machine is before the switch."""
    return bare_start(spark)


@pytest.fixture(scope="module")
def switched(spark: Spark, ansible_playbook: AnsiblePlaybook, bare_before: float) -> Any:
    """B deployed in the place of A, with a client that asks all the time."""
    spark.root(f"rm -rf {CACHE}/{TINY}")
    with Client(spark) as client:
        wait_until(lambda: client.answered, "A answers")
        run = deployed(ansible_playbook, B, spark.limit)
        wait_until(lambda: client.answered, "B answers")
    return run, client


def test_nobody_waits_for_a_download(spark: Spark, switched: Any) -> None:
    """A answered until B was complete on the disk, and there is one gap, the restart."""
    _run, client = switched
    complete = float(spark.root(f"stat --format %Y {CACHE}/{TINY}/refs/main"))
    gaps = client.gaps()
    assert len(gaps) == 1, gaps
    assert complete <= gaps[0][0]


def test_the_figures(
    spark: Spark,
    switched: Any,
    bare_before: float,
    guides_seconds: float,
    figure: Callable[[str], None],
) -> None:
    (gap,) = switched[1].gaps()
    ours = gap[1] - gap[0]
    bare = bare_start(spark)
    figure(
        f"A to B: nobody answered for {ours:.1f} s; the bare start of the engine takes {bare_before:.1f} s before (A)"
        f" and {bare:.1f} s after (B): {ours - bare:+.1f} s, {ours / bare:.2f} times as long;"
        f" the guide's procedure for B {guides_seconds:.1f} s without its stop, {guides_seconds / ours:.1f} times ours"
    )
    assert ours < guides_seconds


def test_a_second_run_is_a_few_calls(
    spark: Spark, ansible_playbook: AnsiblePlaybook, switched: Any, figure: Callable[[str], None]
) -> None:
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, "-vvv", **B)
    assert again.code == 0, again.output
    assert again.count(spark.name, "changed") == 0, again.output
    calls = again.output.count("Using module file")
    figure(f"module calls of a run that finds nothing to do: {calls}")
    assert 0 < calls <= 8


def test_back_by_hand(spark: Spark, ansible_playbook: AnsiblePlaybook, switched: Any, no_hub_no_registry: None) -> None:
    """Without hub and registry; check mode first, which says it and does nothing."""
    before = running(spark)
    look = ansible_playbook("playbooks/rollback.yml", spark.limit, "--check", **B)
    assert look.code == 0, look.output
    assert f"would roll back from release {before[0]}" in look.words
    assert "profile throughput, image " in look.words
    assert running(spark) == before
    back = ansible_playbook("playbooks/rollback.yml", spark.limit, **B)
    assert back.code == 0, back.output
    assert f"{spark.name} serves Qwen/Qwen3-8B-FP8 again" in back.words
    assert running(spark)[0] != before[0]
    wrong = ansible_playbook("playbooks/rollback.yml", spark.limit, **B, vllm_rollback_release="0123456789ab")
    assert wrong.code != 0
    assert f"vllm_rollback_release: 0123456789ab is not a good release of {spark.name}; there are" in wrong.words
