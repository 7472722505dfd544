# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls a server that was ready, as playbooks/health.yml tells it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.playbook import AnsiblePlaybook
from support.sandbox import Spark
from support.waiting import wait_until

from .messages import moments, told
from .second_service import CONTAINER, ITS_OWN, PORT, SERVICE, amend_unit, processes, restore_unit
from .start_faults import TINY

ENGINE = processes("EngineCore")
TOLD = re.compile(
    r"^spark\d+ \| (?P<verdict>\w+)(?:: (?P<meaning>.+))?\n"
    r"(?:    restarted after: (?P<before>.+)\n)?"
    r"    remedy: (?P<remedy>.+)\n"
    r"(?:    seen:   (?P<evidence>.+)\n)?"
    r"    more:   docs/troubleshooting\.md#(?P<cause>\w+)$",
    re.MULTILINE,
)

RESTARTED = re.compile(
    rf"spark\d+ does not serve after the restart: {CONTAINER} on spark\d+ (?P<verdict>\w+)(?: in phase \w+)?:"
    r" .+?\. Remedy: (?P<remedy>.+?)\. Seen: (?P<evidence>.+)\. More: docs/troubleshooting\.md#(?P<cause>\w+)\."
)


@pytest.fixture(scope="module")
def server(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **ITS_OWN)
    assert run.code == 0, run.output


@pytest.fixture(autouse=True)
def ready(spark: Spark, server: None) -> None:
    """Whatever the test before has done to it."""
    spark.root(f"systemctl reset-failed {SERVICE}; systemctl start {SERVICE}")  # not one of the unit's few tries
    ask = f"curl --fail --silent http://127.0.0.1:{PORT}/v1/models"
    wait_until(lambda: spark.run(ask).rc == 0, "the server is ready again")


@pytest.fixture
def look(spark: Spark, ansible_playbook: AnsiblePlaybook, record: Callable[..., None]) -> Callable[..., re.Match[str]]:
    """health.yml on a server that something has befallen: what it says, as it is also kept for the table."""

    def look(fault: str, **variables: Any) -> re.Match[str]:
        run = ansible_playbook("playbooks/health.yml", spark.limit, **{**ITS_OWN, **variables})
        assert run.code != 0, run.output
        assert "Traceback" not in run.output
        told = list(TOLD.finditer(run.output))
        assert len(told) == 1, run.output
        record(kind="server", fault=fault, verdict=told[0]["verdict"], cause=told[0]["cause"], remedy=told[0]["remedy"])
        return told[0]

    return look


def test_ready(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/health.yml", spark.limit, **ITS_OWN)
    assert run.code == 0, run.output
    assert "1 host: 1 ready" in run.output


def test_another_model_on_the_port(look: Callable[..., re.Match[str]]) -> None:
    """The inventory was changed, and nobody has deployed."""
    told = look(
        "wrong model id on the port",
        vllm_container_name=CONTAINER,
        vllm_model="tiny",
        vllm_models={**ITS_OWN["vllm_models"], "tiny": {"id": "sandbox/tiny", **TINY}},
    )
    assert (told["verdict"], told["cause"]) == ("degraded", "wrong_model")
    assert told["evidence"] == "served: Qwen/Qwen3-8B-FP8; wanted: sandbox/tiny"
    assert "stop the other service, or deploy again" in told["remedy"]


@pytest.fixture
def web_server(spark: Spark) -> Iterator[int]:
    """Some other HTTP server."""
    port = PORT + 1
    spark.root(f"systemd-run --collect --unit={SERVICE}-other python3 -m http.server {port} --bind 127.0.0.1")
    try:
        wait_until(lambda: spark.run(f"curl --silent http://127.0.0.1:{port}/").rc == 0, "the other server")
        yield port
    finally:
        spark.root(f"systemctl stop {SERVICE}-other")


def test_another_service_on_the_port(look: Callable[..., re.Match[str]], web_server: int) -> None:
    told = look("another service on the port", vllm_port=web_server)
    assert (told["verdict"], told["cause"]) == ("degraded", "wrong_model")
    assert "stop the other service, or deploy again" in told["remedy"]


@pytest.fixture
def frozen(spark: Spark) -> Iterator[None]:
    spark.root(f"{ENGINE} | xargs kill -STOP")
    yield
    spark.root(f"{ENGINE} | xargs kill -CONT")


def test_a_frozen_engine(look: Callable[..., re.Match[str]], frozen: None) -> None:
    told = look("engine frozen with SIGSTOP")
    assert (told["verdict"], told["cause"]) == ("degraded", "canary_timeout")
    assert "restart the unit" in told["remedy"]


@pytest.fixture
def damaged_cache(spark: Spark) -> Iterator[None]:
    """What a power cut leaves of files that were not yet on the disk. Those that the server has mapped stay whole."""
    folder = f"/opt/{SERVICE}/cache/vllm/torch_compile_cache"
    empty = "find . -type f | while read -r file; do rm $file; touch $file; done"
    spark.root(f"cd {folder}; ls torch_aot_compile; {empty}")
    yield
    spark.root(f"systemctl stop {SERVICE}; rm -r {folder}")


@pytest.mark.in_turn(3, first=1)
def test_a_damaged_compile_cache(
    spark: Spark, ansible_playbook: AnsiblePlaybook, record: Callable[..., None], damaged_cache: None
) -> None:
    run = ansible_playbook("playbooks/restart.yml", spark.limit, **ITS_OWN)
    assert run.code != 0, run.output
    [(when, message)] = [(when, found) for when, line in told(run) if (found := RESTARTED.search(line))]
    assert (message["verdict"], message["cause"]) == ("failed", "compile_cache")
    assert "remove the folder torch_compile_cache" in message["remedy"]
    shown = moments(spark, CONTAINER, message["evidence"], since=run.lines[0][0])
    record(
        kind="start",
        fault="damaged compile cache (`playbooks/restart.yml`)",
        verdict=message["verdict"],
        cause=message["cause"],
        remedy=message["remedy"],
        seconds=when - shown[0],
    )


def started_at(spark: Spark) -> str:
    return spark.root(f"docker inspect --format '{{{{.State.Running}}}} {{{{.State.StartedAt}}}}' {CONTAINER}")


def test_docker_stop_is_repaired_by_systemd(spark: Spark, look: Callable[..., re.Match[str]]) -> None:
    before = started_at(spark)
    spark.root(f"docker stop {CONTAINER}")
    wait_until(lambda: (now := started_at(spark)) != before and now.startswith("true"), "systemd starts it again")
    told = look("container stopped by hand, `docker stop`")
    assert (told["verdict"], told["cause"]) == ("loading", "stopped")
    assert told["before"].startswith("the server was stopped by order")
    assert "start it again with playbooks/restart.yml" in told["remedy"]


def test_systemctl_stop(spark: Spark, look: Callable[..., re.Match[str]]) -> None:
    spark.root(f"systemctl stop {SERVICE}")
    told = look("container stopped by hand, `systemctl stop`")
    assert (told["verdict"], told["cause"]) == ("failed", "stopped")
    assert "start it again with playbooks/restart.yml" in told["remedy"]


REQUESTS = (
    '{"model": "nobody/nothing", "prompt": "1"}',
    '{"model": "Qwen/Qwen3-8B-FP8", "prompt": "1", "max_tokens": -1}',
    '{"model": "Qwen/Qwen3-8B-FP8", "prompt": ',
)


@pytest.mark.in_turn(3)
def test_requests_that_failed_before_an_orderly_stop(spark: Spark, look: Callable[..., re.Match[str]]) -> None:
    """What a client did is no cause of the end."""
    url = f"http://127.0.0.1:{PORT}/v1/completions"
    ask = "curl --silent --output /dev/null --write-out '%%{http_code}' --json %s " + url
    codes = [int(spark.run(ask, request).stdout) for request in REQUESTS]
    assert all(400 <= code <= 500 for code in codes), codes
    spark.root(f"systemctl stop {SERVICE}")
    told = look("requests that failed, then `systemctl stop`")
    assert (told["verdict"], told["cause"]) == ("failed", "stopped")


@pytest.mark.in_turn(2)
def test_killed_while_it_loads(spark: Spark, look: Callable[..., re.Match[str]]) -> None:
    """systemd waits long before it tries again, so that the dead server can be looked at. SIGTERM vLLM ignores then."""
    try:
        amend_unit(spark, "RestartSec=1h")
        spark.root(f"systemctl restart {SERVICE}")
        wait_until(lambda: spark.root(f"{ENGINE} || true"), "vLLM loads")
        spark.root(f"docker kill {CONTAINER}")
        state = f"systemctl show --property=SubState --value {SERVICE}"
        wait_until(lambda: spark.root(state) == "auto-restart", "the server ends")
        told = look("SIGKILL while it loads")
    finally:
        restore_unit(spark)
        spark.root(f"systemctl stop {SERVICE}")
    assert (told["verdict"], told["cause"]) == ("failed", "killed")


@pytest.fixture
def killed(spark: Spark) -> Iterator[None]:
    """systemd waits long before it tries again, so that the dead server can be looked at."""
    state = f"systemctl show --property=SubState --value {SERVICE}"
    try:
        amend_unit(spark, "RestartSec=1h")
        spark.root(f"{ENGINE} | xargs kill -KILL")
        wait_until(lambda: spark.root(state) == "auto-restart", "the server ends after its engine")
        yield
    finally:
        restore_unit(spark)
        spark.root(f"systemctl stop {SERVICE}")


def test_a_killed_engine(look: Callable[..., re.Match[str]], killed: None) -> None:
    told = look("engine killed with -9 after the start")
    assert (told["verdict"], told["cause"]) == ("failed", "engine_dead")
    assert "check `dmesg` for `out of memory`" in told["remedy"]
