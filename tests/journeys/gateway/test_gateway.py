# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set-up; what is unwanted; under load a rolling deployment, a killed server, a switch of the only one, and of two
services of one host; removal. In this order."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from support import unwanted
from support.deployments import EAGER, deployed, running
from support.load import Load
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import ADDRESSES, Sandbox, Spark
from support.waiting import wait_until

from .conftest import CLIENT, GATEWAY, KEY, LIMITED, MODEL, PORT, SERVED, SMALL, TWO

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


def counted(sparks: dict[str, Spark]) -> tuple[int, int]:
    """What vLLM has counted on all hosts: requests with a body, whatever their answer was, and those that generated."""
    ask = f"curl --silent --fail --header 'Authorization: Bearer {KEY}' http://127.0.0.1:8000/metrics"
    pages = "".join(spark.root(ask) for spark in sparks.values())
    posted = re.findall(r'^http_requests_total{.*method="POST".*} (.*)$', pages, re.MULTILINE)
    generated = re.findall(r"^vllm:request_success_total{.*} (.*)$", pages, re.MULTILINE)
    return sum(int(float(each)) for each in posted), sum(int(float(each)) for each in generated)


@pytest.fixture
def without_watchdogs(serving: dict[str, Spark]) -> Iterator[None]:
    """No watchdog asks for a token."""
    for spark in serving.values():
        spark.root("systemctl stop vllm-watchdog.timer vllm-watchdog")
    yield
    for spark in serving.values():
        spark.root("systemctl start vllm-watchdog.timer")


@pytest.mark.usefixtures("set_up", "without_watchdogs")
def test_of_what_is_unwanted_nothing_reaches_vllm(serving: dict[str, Spark], figure: Callable[[str], None]) -> None:
    wait_until(lambda: up(serving[GATEWAY]) == sorted(serving), "both units are up", timeout=60)
    target = unwanted.Target(ADDRESSES[GATEWAY], PORT, MODEL, CLIENT, SMALL, KEY)
    process = serving[GATEWAY].root("systemctl show --property=MainPID,NRestarts haproxy")
    before = counted(serving)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(unwanted.slow, target, 10)
        found = unwanted.at_their_limit(target, LIMITED)
        found += unwanted.answered_by_many(target, list(unwanted.mix(target, 1000, seed=17)))
        found += slow.result()
    assert unwanted.mistakes(found) == Counter()
    good = sum(bool(each.request.forwarded) for each in found)
    wanted = (before[0] + good, before[1] + good)
    wait_until(lambda: counted(serving) >= wanted, "vLLM has counted what it has answered", timeout=30)
    assert counted(serving) == wanted
    assert serving[GATEWAY].root("systemctl show --property=MainPID,NRestarts haproxy") == process
    figure(f"unwanted requests: {len(found)} with the right status, of which {good} reached vLLM")


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
    assert len({(each.kind, each.client) for each in load.requests}) == 4
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
