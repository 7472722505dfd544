# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operators at once, runs that are broken off at each step, and fifty deployments in a row.

The engine is a stand-in here (standin_engine.py), in the real image and with its real arguments.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from pieces import ROOT, root, served, words
from testinfra.host import Host

HOST = "spark01"
ON_THE_HOST = "--limit=spark01"
ENGINE = "/opt/vllm/cache/standin_engine.py"
STANDIN: dict[str, Any] = {
    "vllm_images": {
        "nvcr.io/nvidia/vllm:25.09-py3": {"command_prefix": ["python3", "/root/.cache/standin_engine.py", "serve"]}
    }
}
BAD = {**STANDIN, "vllm_extra_args": {"quantization": "awq"}}
# How many deployments in a row: make soak takes fifty.
TIMES = int(os.environ.get("DEPLOYMENTS", "6"))

STEPS = [
    "stage | Write the secrets",
    "stage | Pull the image",
    "parse | Let the image",
    "download | Get the model",
    "supervise | Read what is there",
    "switch | Point to the release",
    "start | Start the unit",
    "observe | Wait until the server answers",
    "keep | Mark the release",
]
STEPS_BACK = ["roll_back | Look for what", "serve | Point to it", "start | Start the unit", "serve | Wait until"]


@pytest.fixture(scope="module", autouse=True)
def standin(spark: Host, playbook: Callable[..., Any]) -> None:
    root(spark, "mkdir -p /opt/vllm/cache")
    engine = (ROOT / "molecule/rollout/standin_engine.py").read_text()
    with spark.sudo():
        spark.check_output("printf %%s %s >%s", engine, ENGINE)
    run = playbook("playbooks/deploy.yml", ON_THE_HOST, **STANDIN)
    assert run.code == 0, run.output


def other_profile(spark: Host) -> dict[str, Any]:
    """What does not run at the moment."""
    now = root(spark, "docker inspect --format '{{index .Config.Labels \"dgxspark.vllm.profile\"}}' vllm-qwen3-8b-fp8")
    return {**STANDIN, "vllm_profile": "latency" if now.strip() == "throughput" else "throughput"}


class Killed(Exception):
    pass


def test_the_second_operator_is_told_of_the_first(spark: Host, playbook: Callable[..., Any]) -> None:
    second: list[Any] = []

    def meanwhile(line: str) -> None:
        if "switch | Point to the release" in line:
            second.append(playbook("playbooks/deploy.yml", ON_THE_HOST, **STANDIN))

    first = playbook("playbooks/deploy.yml", ON_THE_HOST, on_line=meanwhile, **other_profile(spark))
    assert first.code == 0, first.output
    assert second[0].code != 0
    who = f"spark01 is being deployed by {getpass.getuser()} on {socket.gethostname()} since "
    assert re.search(re.escape(who) + r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", words(second[0].output)), second[0].output
    assert second[0].count(HOST, "changed") == 0


def test_the_lock_of_a_dead_run_heals(spark: Host, playbook: Callable[..., Any]) -> None:
    def kill(line: str) -> None:
        if "switch | Point to the release" in line:
            raise Killed

    wanted = other_profile(spark)
    with pytest.raises(Killed):
        playbook("playbooks/deploy.yml", ON_THE_HOST, on_line=kill, **wanted)
    again = playbook("playbooks/deploy.yml", ON_THE_HOST, **wanted)
    assert again.code == 0, again.output
    assert "spark01 | the lock of a deployment that is over was taken" in again.output


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_was_broken_off_is_finished(step: str, spark: Host, playbook: Callable[..., Any]) -> None:
    # a release that no run has seen: nothing is left out because it was good before
    wanted = {**STANDIN, "vllm_extra_args": {"max_num_seqs": 100 + STEPS.index(step)}}
    broken_off = playbook("playbooks/deploy.yml", ON_THE_HOST, interrupt=step, **wanted)
    assert broken_off.code != 0, broken_off.output
    again = playbook("playbooks/deploy.yml", ON_THE_HOST, **wanted)
    assert again.code == 0, again.output
    arguments = root(spark, "docker inspect --format '{{join .Args \" \"}}' vllm-qwen3-8b-fp8")
    assert f"--max-num-seqs {100 + STEPS.index(step)}" in arguments
    with spark.sudo():
        assert spark.file("/opt/vllm/good").linked_to == spark.file("/opt/vllm/current").linked_to


@pytest.mark.parametrize("step", STEPS_BACK)
def test_a_roll_back_that_was_broken_off_is_done_again(step: str, spark: Host, playbook: Callable[..., Any]) -> None:
    with spark.sudo():
        good = spark.file("/opt/vllm/good").linked_to
    armed = []

    def interrupt_in_the_roll_back(line: str) -> None:
        armed.append("roll_back.yml" in line)
        if any(armed) and step in line:
            raise Killed

    with pytest.raises(Killed):
        playbook("playbooks/deploy.yml", ON_THE_HOST, on_line=interrupt_in_the_roll_back, **BAD)
    again = playbook("playbooks/deploy.yml", ON_THE_HOST, **BAD)
    assert again.code != 0
    assert f"The last good release ({good.rpartition('/')[2]}) serves again." in words(again.output)
    assert served(spark)[0] == good.rpartition("/")[2]


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
    spark: Host, playbook: Callable[..., Any], figure: Callable[[str], None]
) -> None:
    for _time in range(2):  # both profiles are there
        assert playbook("playbooks/deploy.yml", ON_THE_HOST, **other_profile(spark)).code == 0
    before = root(spark, LEFT)
    for _time in range(TIMES):
        run = playbook("playbooks/deploy.yml", ON_THE_HOST, **other_profile(spark))
        assert run.code == 0, run.output
    what = "releases, containers, networks, volumes, images, units, bytes of locks, loaded units, files"
    figure(f"{TIMES} deployments in a row, before and after the same: {before.split()} ({what})")
    assert root(spark, LEFT) == before
