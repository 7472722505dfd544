# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The release in service as a plain folder: Docker Compose alone serves the same model from it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.playbook import AnsiblePlaybook
from support.sandbox import MODEL, Spark
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("served")

PLACE = "/root/exported"


@pytest.fixture
def stopped(spark: Spark) -> Iterator[Spark]:
    """The host without the service, and with what that has compiled: compiling it anew would take a minute."""
    spark.root(f"systemctl stop vllm; rm -rf {PLACE}; mkdir {PLACE}; cp -a /opt/vllm/cache {PLACE}/cache")
    yield spark
    spark.root(f"cd {PLACE} && docker compose down; cd /; rm -rf {PLACE}; systemctl start vllm")


def test_it_serves_without_ansible(stopped: Spark, ansible_playbook: AnsiblePlaybook, tmp_path: Path) -> None:
    for changes in (1, 0):
        run = ansible_playbook("playbooks/export.yml", stopped.limit, vllm_export_folder=str(tmp_path))
        assert run.code == 0, run.output
        assert run.count(stopped.name, "changed") == changes, run.output
    (folder,) = tmp_path.glob("*/vllm-*")
    record = json.loads((folder / "release.json").read_text())
    commit = stopped.root("cat /opt/hf/models--Qwen--Qwen3-8B-FP8/refs/main").strip()
    assert (record["model"], record["revision"]) == (MODEL, commit)
    for path in folder.iterdir():
        stopped.write(f"{PLACE}/{path.name}", path.read_text())

    stopped.root(f"cd {PLACE} && docker compose config --quiet && docker compose up --detach")
    asked = json.dumps({"model": MODEL, "prompt": "The", "max_tokens": 4})
    curl = f"curl --silent --fail --json {shlex.quote(asked)} http://127.0.0.1:8000/v1/completions || true"
    wait_until(lambda: '"completion_tokens":4' in stopped.root(curl), "a completion", timeout=240)
    served = stopped.inspect(stopped.root(f"cd {PLACE} && docker compose ps --quiet").strip())
    assert not [label for label in served["Config"]["Labels"] if label.startswith("dgxspark.vllm")]
    assert served["Config"]["Cmd"] == record["argv"]
