# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets: nowhere in the output of the loudest run; on the host in one file, and in the container's environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

HOST = "spark01"

HF_TOKEN = "hf_sandboxgranted"
API_KEY = "sk-sandbox-notToBePrinted7"
SECRETS = [HF_TOKEN, API_KEY]
CONTAINER = "vllm-qwen3-8b-fp8"


@pytest.fixture(scope="module")
def run(playbook: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A deployment with a key that the host has not seen, so that everything that carries a secret is written."""
    vault = tmp_path_factory.mktemp("secrets") / "vault.json"
    vault.write_text(json.dumps({"vllm_hf_token": HF_TOKEN, "vllm_api_key": API_KEY}))
    run = playbook("site.yml", "--limit=spark01", "-vvv", "--diff", f"--extra-vars=@{vault}")
    assert run.code == 0, run.output
    assert run.count("spark01", "changed") > 0, run.output
    return run


@pytest.fixture(scope="module")
def pattern(spark: Host) -> str:
    """A file with the secrets for `grep -f`: as an argument sudo would write them into the journal."""
    file = "/home/dgx/secrets-to-look-for"
    spark.check_output("umask 077 && printf '%%s\\n' %s %s >%s", *SECRETS, file)
    return file


def test_the_output_has_none(run: Any) -> None:
    lines = [line for line in run.output.splitlines() if any(secret in line for secret in SECRETS)]
    assert lines == []


def test_the_key_is_in_force(spark: Host, run: Any) -> None:
    ask = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8000/v1/models"
    assert spark.check_output(ask) == "401"
    assert spark.check_output(f"{ask} --header 'Authorization: Bearer {API_KEY}'") == "200"


def test_one_file_holds_them(spark: Host, run: Any, pattern: str) -> None:
    with spark.sudo():
        found = spark.run(
            "grep -rlFf %s /etc /home /opt /root /run /srv /tmp /usr/local /var/lib/systemd /var/log", pattern
        )
        # /run has the container's own environment: what the engine needs to start it
        files = {name for name in found.stdout.split() if not name.startswith("/run/")} - {pattern}
        releases = spark.check_output("ls /opt/vllm/releases").split()
        assert files == {f"/opt/vllm/releases/{release}/.env" for release in releases}
        assert {spark.file(name).mode for name in files} == {0o600}


def test_no_log_has_them(spark: Host, run: Any, pattern: str) -> None:
    with spark.sudo():
        assert (
            spark.run("journalctl --no-pager --output=cat | grep --count --fixed-strings --file=%s", pattern).stdout
            == "0\n"
        )
        assert (
            spark.run("docker logs %s 2>&1 | grep --count --fixed-strings --file=%s", CONTAINER, pattern).stdout
            == "0\n"
        )


def test_no_argument_has_them(spark: Host, run: Any, pattern: str) -> None:
    with spark.sudo():
        assert spark.run("ps -e -o args | grep --count --fixed-strings --file=%s", pattern).stdout == "0\n"
        container = json.loads(spark.check_output("docker inspect %s", CONTAINER))[0]
    container["Config"].pop("Env")
    assert not any(secret in json.dumps(container) for secret in SECRETS)
