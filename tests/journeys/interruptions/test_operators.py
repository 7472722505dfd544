# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operators at once, runs that are broken off, and deployments in a row.

The engine is a stand-in here (standin_engine.py), in the real image and with its real arguments.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.deployments import deployed, mark_home, running
from support.paths import SUPPORT
from support.playbook import AnsiblePlaybook
from support.sandbox import IMAGE, Spark
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("prepared")

ENGINE = "/opt/vllm/cache/standin_engine.py"
STANDIN: dict[str, Any] = {
    "vllm_images": {
        "nvcr.io/nvidia/vllm:25.09-py3": {"command_prefix": ["python3", "/root/.cache/standin_engine.py", "serve"]}
    }
}
BAD = {**STANDIN, "vllm_extra_args": {"quantization": "awq"}}
# How many deployments in a row: make soak takes fifty.
TIMES = int(os.environ.get("DEPLOYMENTS", "4"))

# Those that leave another state behind. Between them the role only reads, or finds what it wants.
STEPS = [
    "stage_release | Write the secrets",
    "check_arguments | Parse the arguments",
    "download | Download the model",
    "link_release | Point current at the release",
    "start_release | Enable and start the unit",
    "wait_ready | Wait until the server generates a token",
    "commit | Mark the release",
]
STEPS_BACK = [
    "link_release | Point current at the release",
    "start_release | Enable and start the unit",
    "wait_ready | Wait until the server generates a token",
]


@pytest.fixture(scope="module", autouse=True)
def standin(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    mark_home(spark)
    engine = (SUPPORT / "standin_engine.py").read_text()
    with spark.sudo():
        spark.check_output("printf %%s %s >%s", engine, ENGINE)
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, **STANDIN)
    assert run.code == 0, run.output


def release(number: int) -> dict[str, Any]:
    """One that no run has seen: nothing is left out because it was good before."""
    return {**STANDIN, "vllm_extra_args": {"max_num_seqs": 100 + number}}


def other_profile(spark: Spark) -> dict[str, Any]:
    """What does not run at the moment."""
    now = spark.root("docker inspect --format '{{index .Config.Labels \"dgxspark.vllm.profile\"}}' vllm-qwen3-8b-fp8")
    return {**STANDIN, "vllm_profile": "latency" if now.strip() == "throughput" else "throughput"}


def current(spark: Spark) -> str:
    """The release that the unit starts."""
    return spark.root("basename $(readlink -f /opt/vllm/current)").strip()


class Killed(Exception):
    pass


def kill_at(step: str) -> Callable[[str], None]:
    def kill(line: str) -> None:
        if step in line:
            raise Killed

    return kill


def test_the_second_operator_is_told_of_the_first(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    second: list[Any] = []

    def meanwhile(line: str) -> None:
        if "stage_release | Write the secrets" in line:  # the first has much to do yet
            second.append(ansible_playbook("playbooks/deploy.yml", spark.limit, **release(21)))

    first = ansible_playbook("playbooks/deploy.yml", spark.limit, on_line=meanwhile, **release(20))
    assert first.code == 0, first.output
    assert second[0].code != 0
    who = f"Another run works on {spark.name}: {getpass.getuser()} on {socket.gethostname()} since "
    assert re.search(re.escape(who) + r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", second[0].words), second[0].output
    assert second[0].count(spark.name, "changed") == 0


def test_the_lock_of_a_dead_run_heals(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    wanted = other_profile(spark)
    with pytest.raises(Killed):
        step = kill_at("link_release | Point current at the release")
        ansible_playbook("playbooks/deploy.yml", spark.limit, on_line=step, **wanted)
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, **wanted)
    assert again.code == 0, again.output
    assert f"{spark.name} | the lock of a run that is over was taken" in again.output


@pytest.mark.in_turn(2)
@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_was_broken_off_is_finished(step: str, spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    wanted = release(STEPS.index(step))
    broken_off = ansible_playbook("playbooks/deploy.yml", spark.limit, interrupt=step, **wanted)
    assert broken_off.code != 0, broken_off.output
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, **wanted)
    assert again.code == 0, again.output
    arguments = spark.root("docker inspect --format '{{join .Args \" \"}}' vllm-qwen3-8b-fp8")
    assert f"--max-num-seqs {100 + STEPS.index(step)}" in arguments
    with spark.sudo():
        assert spark.file("/opt/vllm/good").linked_to == spark.file("/opt/vllm/current").linked_to


def test_a_run_that_was_broken_off_is_taken_back(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    """`current` leads to the new release, and the old one runs and is wanted again: it is not restarted."""
    old = release(len(STEPS) - 1)
    deployed(ansible_playbook, old, spark.limit)
    before = running(spark)
    step = "link_release | Point current at the release"
    broken_off = ansible_playbook("playbooks/deploy.yml", spark.limit, interrupt=step, **release(21))
    assert broken_off.code != 0, broken_off.output
    assert current(spark) != before[0], "it was broken off before its time"
    deployed(ansible_playbook, old, spark.limit)
    assert running(spark) == before
    assert current(spark) == before[0]


def test_a_roll_back_by_hand_that_was_broken_off_is_finished(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    before = running(spark)[0]
    broken_off = ansible_playbook(
        "playbooks/rollback.yml", spark.limit, interrupt="link_release | Point current at the release", **STANDIN
    )
    assert broken_off.code != 0, broken_off.output
    wanted = current(spark)
    assert wanted != before, "it was broken off before its time"
    again = ansible_playbook("playbooks/rollback.yml", spark.limit, **STANDIN, vllm_rollback_release=wanted)
    assert again.code == 0, again.output
    assert running(spark)[0] == current(spark) == wanted


@pytest.mark.in_turn(3)
@pytest.mark.parametrize("step", STEPS_BACK)
def test_a_roll_back_that_was_broken_off_is_done_again(
    step: str, spark: Spark, ansible_playbook: AnsiblePlaybook
) -> None:
    with spark.sudo():
        good = spark.file("/opt/vllm/good").linked_to
    armed = []

    def interrupt_in_the_roll_back(line: str) -> None:
        armed.append("recover/recover.yml" in line)
        if any(armed) and step in line:
            raise Killed

    with pytest.raises(Killed):
        ansible_playbook("playbooks/deploy.yml", spark.limit, on_line=interrupt_in_the_roll_back, **BAD)
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, **BAD)
    assert again.code != 0
    assert f"The last good release ({good.rpartition('/')[2]}) serves again." in again.words
    assert running(spark)[0] == good.rpartition("/")[2]


@pytest.fixture
def by_hand(spark: Spark) -> Iterator[str]:
    """Somebody has stopped the service, and has started a vLLM server by hand; its name."""
    name = "by-hand"
    spark.root(
        f"systemctl stop vllm; docker run --detach --name {name} --publish 8000:8000"
        f" --volume {ENGINE}:/standin/vllm:ro --entrypoint python3 {IMAGE} /standin/vllm serve Qwen/Qwen3-8B-FP8",
    )
    wait_until(lambda: spark.run("curl --fail --silent http://127.0.0.1:8000/health").rc == 0, f"{name} answers")
    yield name
    spark.root(f"docker rm --force {name}")


def runs(spark: Spark, container: str) -> bool:
    return spark.root(f"docker inspect --format '{{{{.State.Running}}}}' {container}").strip() == "true"


def test_a_take_over_that_was_broken_off_is_finished(
    spark: Spark, ansible_playbook: AnsiblePlaybook, by_hand: str
) -> None:
    wanted = release(22)
    step = "start_release | Stop the displaced servers"
    broken_off = ansible_playbook("playbooks/deploy.yml", spark.limit, interrupt=step, **wanted)
    assert broken_off.code != 0, broken_off.output
    deployed(ansible_playbook, wanted, spark.limit)
    assert running(spark)[0] == current(spark)
    assert not runs(spark, by_hand)


def test_a_server_that_a_killed_run_has_stopped_is_given_back(
    spark: Spark, ansible_playbook: AnsiblePlaybook, by_hand: str
) -> None:
    """Killed when neither runs: the next run knows whom to start again."""
    with pytest.raises(Killed):
        ansible_playbook(
            "playbooks/deploy.yml", spark.limit, on_line=kill_at("recover | Stop the failed release"), **BAD
        )
    again = ansible_playbook("playbooks/deploy.yml", spark.limit, **BAD)
    assert again.code != 0
    assert f"{by_hand}, which was stopped for it, serves again." in again.words
    assert runs(spark, by_hand)


LEFT = """
ls /opt/vllm/releases | wc -l
docker ps --all --quiet | wc -l
docker network ls --quiet | wc -l
docker volume ls --quiet | wc -l
docker image ls --quiet --all | wc -l
ls /etc/systemd/system | grep -c vllm
cat /run/dgxspark.vllm/*.lock | wc -c
systemctl list-units --all --plain --no-legend 'vllm*' | wc -l
ls /opt/vllm | wc -l
"""


def test_deployments_in_a_row_leave_nothing_behind(
    spark: Spark, ansible_playbook: AnsiblePlaybook, figure: Callable[[str], None]
) -> None:
    for _time in range(2):  # both profiles are there
        assert ansible_playbook("playbooks/deploy.yml", spark.limit, **other_profile(spark)).code == 0
    before = spark.root(LEFT)
    for _time in range(TIMES):
        run = ansible_playbook("playbooks/deploy.yml", spark.limit, **other_profile(spark))
        assert run.code == 0, run.output
    what = "releases, containers, networks, volumes, images, units, bytes of locks, loaded units, files"
    figure(f"{TIMES} deployments in a row, before and after the same: {before.split()} ({what})")
    assert spark.root(LEFT) == before
