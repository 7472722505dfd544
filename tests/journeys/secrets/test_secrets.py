# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets: nowhere in the output of the loudest run; on the host in one file, and in the container's environment."""

from __future__ import annotations

import json

import pytest

from support.playbook import Run
from support.sandbox import CONTAINER, Spark

from .vault import API_KEY, HF_TOKEN, SECRETS


@pytest.fixture(scope="module")
def pattern(spark: Spark) -> str:
    """A file with the secrets for `grep -f`: as an argument sudo would write them into the journal."""
    file = "/home/dgx/secrets-to-look-for"
    spark.check_output("umask 077 && printf '%%s\\n' %s %s >%s", *SECRETS, file)
    return file


def test_the_output_has_none(run: Run) -> None:
    lines = [line for line in run.output.splitlines() if any(secret in line for secret in SECRETS)]
    assert lines == []


def test_the_key_is_in_force(spark: Spark, run: Run) -> None:
    ask = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8000/v1/models"
    assert spark.check_output(ask) == "401"
    assert spark.check_output(f"{ask} --header 'Authorization: Bearer {API_KEY}'") == "200"


def test_one_file_of_each_release_holds_them(spark: Spark, run: Run, pattern: str) -> None:
    """An earlier release that can be gone back to has the values that are in force."""
    with spark.sudo():
        found = spark.run(
            "grep -rlFf %s /etc /home /opt /root /run /srv /tmp /usr/local /var/lib/systemd /var/log", pattern
        )
        # /run has the container's own environment: what the engine needs to start it
        files = {name for name in found.stdout.split() if not name.startswith("/run/")} - {pattern}
        assert spark.check_output("readlink -f /opt/vllm/current/.env") in files
        assert files <= set(spark.check_output("ls -d /opt/vllm/releases/*/.env").split())
        assert {spark.file(name).mode for name in files} == {0o600}


def test_no_log_has_them(spark: Spark, run: Run, pattern: str) -> None:
    with spark.sudo():
        assert (
            spark.run("journalctl --no-pager --output=cat | grep --count --fixed-strings --file=%s", pattern).stdout
            == "0\n"
        )
        assert (
            spark.run("docker logs %s 2>&1 | grep --count --fixed-strings --file=%s", CONTAINER, pattern).stdout
            == "0\n"
        )


def test_no_argument_has_them(spark: Spark, run: Run, pattern: str) -> None:
    with spark.sudo():
        assert spark.run("ps -e -o args | grep --count --fixed-strings --file=%s", pattern).stdout == "0\n"
    container = spark.inspect()
    environment = container["Config"].pop("Env")
    assert f"VLLM_API_KEY={API_KEY}" in environment
    assert HF_TOKEN not in json.dumps(environment)  # the model is complete, and the server offline
    assert not any(secret in json.dumps(container) for secret in SECRETS)
