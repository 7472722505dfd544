# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set-up; under load a rolling deployment, a killed server, a switch of the only one, and of two services of one host;
removal. In this order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from support.deployments import EAGER, deployed, running
from support.load import Load
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import ADDRESSES, Sandbox, Spark
from support.waiting import wait_until

from .conftest import CLIENT, GATEWAY, KEY, MODEL, PORT, SERVED, TWO

PER_SECOND = 20
WAITING = 4000  # of the only server, all wait
AT_ONCE = 100  # more of them in progress would only measure how busy the machine is
(OTHER,) = (name for name in ADDRESSES if name != GATEWAY)


def up(spark: Spark) -> list[str]:
    """Units that the gateway gives requests to."""
    page = spark.root("curl --silent 'http://127.0.0.1:8404/stats;csv'")
    rows = [line.split(",") for line in page.splitlines()]
    return sorted(row[1] for row in rows[1:] if row[1].startswith("spark") and row[17] == "UP")


@pytest.fixture
def load(set_up: Run, serving: dict[str, Spark]) -> Iterator[Load]:
    wait_until(lambda: up(serving[GATEWAY]) == sorted(serving), "both units are up", timeout=60)
    with started() as load:
        yield load


@contextmanager
def started(at_once: int = AT_ONCE) -> Iterator[Load]:
    with Load(ADDRESSES[GATEWAY], PORT, CLIENT, MODEL, PER_SECOND, at_once) as load:
        wait_until(lambda: len(load.requests) > PER_SECOND, "requests are answered", timeout=60)
        yield load


def test_it_is_set_up_beside_a_server_that_runs_and_a_second_run_changes_nothing(
    set_up: Run, serving: dict[str, Spark], ansible_playbook: AnsiblePlaybook, inventory: str
) -> None:
    gateway = serving[GATEWAY]
    before = running(gateway)
    second = ansible_playbook("playbooks/gateway.yml", inventory, "--diff", **SERVED)
    assert second.code == 0, second.output
    assert second.count(GATEWAY, "changed") == 0, second.output
    assert running(gateway) == before
    folder = "/etc/haproxy/dgxspark"
    modes = gateway.root(f"stat --format '%U %a' {folder} {folder}/*")
    assert set(modes.splitlines()) == {"root 700", "root 600"}
    # no secret anywhere but in the file that needs it
    assert (
        gateway.root(f"grep --recursive --files-with-matches -e {KEY} -e {CLIENT} {folder}")
        == f"{folder}/engine_keys.map"
    )
    assert CLIENT not in set_up.output + second.output
    assert KEY not in set_up.output + second.output


def test_a_rolling_deployment_under_load_fails_no_request(
    load: Load,
    serving: dict[str, Spark],
    ansible_playbook: AnsiblePlaybook,
    inventory: str,
    figure: Callable[[str], None],
) -> None:
    before = {name: running(spark)[0] for name, spark in serving.items()}
    run = deployed(ansible_playbook, {**SERVED, "vllm_extra_args": {**EAGER, "max_num_seqs": 16}}, inventory)
    with load:  # until all have ended
        pass
    figure(f"rolling deployment of two units: {load.figures}")
    for name, spark in serving.items():
        assert running(spark)[0] != before[name], run.output
    assert {each.kind for each in load.requests} == {"streamed", "whole"}
    assert load.failed == []
    assert up(serving[GATEWAY]) == sorted(serving)


def test_of_a_killed_server_only_requests_in_progress_fail(
    load: Load, serving: dict[str, Spark], figure: Callable[[str], None]
) -> None:
    serving[OTHER].root("docker kill $(docker ps --quiet --filter label=dgxspark.vllm.service=vllm)")
    killed = time.time()
    count = len(load.requests)
    wait_until(lambda: len(load.requests) > count + 5 * PER_SECOND, "requests are answered without it", timeout=60)
    with load:
        pass
    figure(f"killed server: {len(load.requests)} requests, {len(load.failed)} failed, all in progress at that time")
    assert [each for each in load.failed if each.begin > killed] == []


def test_the_only_server_is_switched_under_load_and_no_request_fails(
    set_up: Run,
    serving: dict[str, Spark],
    ansible_playbook: AnsiblePlaybook,
    inventory: str,
    figure: Callable[[str], None],
) -> None:
    """Back to the release before, and then to one that does not start: who waited gets what served before."""
    stopped = ansible_playbook("playbooks/stop.yml", inventory, f"--limit={OTHER}", **SERVED)
    assert stopped.code == 0, stopped.output
    spark, only = serving[GATEWAY], f"--limit={GATEWAY}"
    assert up(spark) == [GATEWAY]
    before = running(spark)[0]
    with started(WAITING) as load:
        switched = ansible_playbook("playbooks/rollback.yml", inventory, only, **SERVED)
        assert switched.code == 0, switched.output
    figure(f"the only server switched: {load.figures}")
    assert "the only ready server of its model: requests wait until it is back" in switched.words
    now = running(spark)
    assert now[0] != before
    assert load.failed == []
    with started(WAITING) as load:
        refused = ansible_playbook(
            "playbooks/deploy.yml", inventory, only, **{**SERVED, "vllm_extra_args": {**EAGER, "quantization": "fp9"}}
        )
        assert refused.code != 0, refused.output
    figure(f"the only server and a release that does not start: {load.figures}")
    again = running(spark)
    assert (again[0], again[1] != now[1]) == (now[0], True), refused.output
    assert load.failed == []


@pytest.mark.usefixtures("prepared")
@pytest.mark.in_turn(3)  # another engine, and two switches
def test_of_two_services_of_one_host_one_always_serves(
    sandbox: Sandbox, ansible_playbook: AnsiblePlaybook, divided: str, figure: Callable[[str], None]
) -> None:
    """The first service is what has served here; the second one is new. Nothing serves on the other host."""
    spark, only = sandbox[GATEWAY], f"--limit={GATEWAY}"
    names = [f"{GATEWAY}-{service['name']}" for service in TWO]
    deployed(ansible_playbook, SERVED, divided, only)
    ready = ansible_playbook("playbooks/gateway.yml", divided, **SERVED)
    assert ready.code == 0, ready.output
    wait_until(lambda: up(spark) == names, "both services are up", timeout=60)
    # A variable of the environment: the arguments need not be checked again, which takes long on a busy machine.
    changed = {**SERVED, "vllm_extra_env": {"VLLM_LOG_STATS_INTERVAL": "11"}}
    with started() as load:
        run = deployed(ansible_playbook, changed, divided, only)
    figure(f"two services of one host: {load.figures}")
    assert "only ready server" not in run.words, run.output
    assert [run.count(name, "changed") > 0 for name in names] == [True, True], run.output
    assert load.failed == []
    assert up(spark) == names
    removed = ansible_playbook("playbooks/uninstall.yml", divided, f"--limit={names[1]}", **SERVED)
    assert removed.code == 0, removed.output


def test_a_removal_leaves_the_package_and_nothing_else(
    serving: dict[str, Spark], ansible_playbook: AnsiblePlaybook, inventory: str
) -> None:
    removed = ansible_playbook("playbooks/gateway.yml", inventory, gateway_state="absent")
    assert removed.code == 0, removed.output
    gateway = serving[GATEWAY]
    left = gateway.root("ls -d /etc/haproxy/dgxspark /etc/systemd/system/haproxy.service.d 2>/dev/null || true")
    assert left == ""
    assert gateway.root(f"ss --listening --tcp --no-header '( sport = {PORT} or sport = 8404 )'") == ""
