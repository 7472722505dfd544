# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server that the main job leaves behind, as its clients and its operator see it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator

import openai
import pytest

from support.hub import free_port
from support.sandbox import CONTAINER, MODEL, Spark
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("served")


@pytest.fixture
def client(spark: Spark) -> Iterator[openai.OpenAI]:
    """The OpenAI SDK, through a port forward as the README says."""
    port = free_port()
    forward = subprocess.Popen(spark.ssh.command("-N", "-oExitOnForwardFailure=yes", "-L", f"{port}:127.0.0.1:8000"))

    def answers() -> bool:
        assert forward.poll() is None, "ssh ended"
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, "the port forward")
        yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="not-needed", max_retries=0, timeout=60)
    finally:
        forward.terminate()
        forward.wait(10)


def test_a_chat_completion(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is unified memory?"},
        ],
        max_tokens=8,
        temperature=0.7,
    )
    assert answer.model == MODEL
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= 1


def test_a_streamed_completion(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Tell me a story"}], max_tokens=8, stream=True
        )
    )
    assert len(chunks) > 1
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_the_model_has_the_guides_context(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == MODEL
    assert model.model_extra is not None
    assert model.model_extra["max_model_len"] == 32768


def test_published_on_loopback_only(spark: Spark) -> None:
    assert spark.inspect()["HostConfig"]["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}


def test_supervised_by_systemd(spark: Spark) -> None:
    unit = spark.service("vllm")
    assert unit.is_running
    assert unit.is_enabled
    assert spark.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_secrets_are_in_one_file_that_only_root_reads(spark: Spark) -> None:
    with spark.sudo():
        assert spark.file("/opt/vllm/.env").linked_to == spark.check_output("readlink -f /opt/vllm/current/.env")
        secrets = spark.file("/opt/vllm/current/.env")
        assert secrets.mode == 0o600
        assert (secrets.user, secrets.group) == ("root", "root")
        assert "HF_TOKEN=''" in secrets.content_string  # the download had it, and the server needs none


def test_no_token_in_any_argument(spark: Spark) -> None:
    found = spark.inspect()
    # what the container was told to run, its labels, its limits: everything but its own environment
    found["Config"].pop("Env")
    assert "hf_sandbox" not in json.dumps(found)
    with spark.sudo():
        assert "hf_sandbox" not in spark.check_output("ps -e -o args")


def test_the_gpu_is_handed_to_the_container(spark: Spark) -> None:
    assert spark.inspect()["HostConfig"]["DeviceRequests"]


def test_one_cache_holds_everything(spark: Spark) -> None:
    with spark.sudo():
        assert spark.file("/opt/hf/models--Qwen--Qwen3-8B-FP8/snapshots").is_directory
        assert spark.check_output("find /opt/hf -name '*.incomplete'") == ""
        assert spark.check_output("find /opt/hf -name config.json") != ""


def test_the_release_is_marked_as_good(spark: Spark) -> None:
    with spark.sudo():
        current = spark.check_output("readlink -f /opt/vllm/current")
        assert current.startswith("/opt/vllm/releases/")
        assert spark.check_output("readlink -f /opt/vllm/good") == current
        labels = spark.inspect()["Config"]["Labels"]
    assert labels["dgxspark.vllm.release"] == current.rpartition("/")[2]


def test_the_guides_own_commands_work(spark: Spark) -> None:
    with spark.sudo():
        assert CONTAINER in spark.check_output("cd /opt/vllm/current && docker compose ps --services")
        assert spark.run("cd /opt/vllm/current && docker compose logs --tail 5 %s", CONTAINER).rc == 0
    assert spark.run("curl --fail --silent http://localhost:8000/health").rc == 0
