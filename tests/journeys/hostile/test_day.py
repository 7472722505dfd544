# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A day of the operator's work on a host whose server was taken over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.deployments import deployed, mark_home
from support.paths import SUPPORT
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import IMAGE, Spark
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("prepared")

HERE = Path(__file__).parent
SERVICE = "vllm-hostile"
HOME, CACHE, COPIED, OUTSIDE = f"/opt/{SERVICE}", "/opt/hf-hostile", "/opt/hf-copied", "/srv/outside"
LIAR = "liar"
LONGEST = 300  # seconds for a playbook: a hang is no result


def ours(engine: str) -> dict[str, Any]:
    image = {"command_prefix": ["python3", f"/root/.cache/{engine}.py", "serve"]}
    return {
        "vllm_service_name": SERVICE,
        "vllm_port": 8003,
        "vllm_images": {"nvcr.io/nvidia/vllm:25.09-py3": image},
        "vllm_enforce_memory_plan": False,
        "hf_cache_path": CACHE,
    }


# A server that may download can write to the cache.
HOSTILE = {**ours("hostile_engine"), "vllm_download": False}
HONEST = ours("standin_engine")

# What is to stay as it is: contents, owners, modes, and which files there are.
LOOK = f"""
find {OUTSIDE} /etc/cron.d /etc/passwd /etc/shadow /etc/ssh /root/.ssh /usr/local/bin \
    -printf '%p %y %m %u %g %l\\n' 2>/dev/null | sort
find {OUTSIDE} /etc/cron.d /etc/passwd /etc/shadow /etc/ssh -type f | sort | xargs sha256sum
systemctl is-active ssh docker
"""


@pytest.fixture(scope="module", name="host")
def _host(spark: Spark, ansible_playbook: AnsiblePlaybook) -> Iterator[Spark]:
    """Its server was deployed, and is taken over now."""
    mark_home(spark, SERVICE)
    for name, path in (("standin_engine", SUPPORT / "standin_engine.py"), ("hostile_engine", HERE / "engine.py")):
        spark.write(f"{HOME}/cache/{name}.py", path.read_text())
    spark.root(f"mkdir -p {CACHE} {COPIED} {OUTSIDE}/folder; echo mine >{OUTSIDE}/file; chmod 0700 {OUTSIDE}")
    spark.root("command -v rsync || { apt-get update && apt-get install --yes rsync; } >/dev/null")  # for the copies
    spark.root(f"cp -a /opt/hf/models--Qwen--Qwen3-8B-FP8 {CACHE}/")
    deployed(ansible_playbook, HOSTILE, spark.limit)
    spark.root(
        f"docker run --detach --name {LIAR} --label dgxspark.vllm.service=ssh --label dgxspark.vllm.release=../../etc"
        f" --label dgxspark.vllm.planned_bytes=999999999999999 --entrypoint sleep {IMAGE} infinity"
    )
    yield spark
    ansible_playbook("playbooks/uninstall.yml", spark.limit, **HONEST)
    spark.root(f"docker rm --force {LIAR}; rm -rf {HOME} {CACHE} {COPIED} {OUTSIDE}")


def test_it_cannot_hang_fill_or_change_the_host(host: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    before = host.root(LOOK)
    free = int(host.root("df --output=avail -B1 /opt | tail -1"))
    host.root(f"touch {HOME}/cache/go")
    wait_until(lambda: host.file(f"{HOME}/cache/planted").exists, "the server has planted its objects")
    # it has no capability to make devices; what is renamed meanwhile is no error
    assert host.root(f"find {HOME}/cache {CACHE} -type c -o -type b 2>/dev/null || true") == ""
    host.root(f"systemctl start --no-block {SERVICE}-watchdog.service")

    def run(playbook: str | Path, *arguments: str, **variables: Any) -> Run:
        done = ansible_playbook(playbook, host.limit, *arguments, timeout=LONGEST, **variables)
        assert "Traceback" not in done.output, done.output
        assert "Timed out" not in done.output, done.output
        assert not {"\x1b", "\x07", "\u202e"} & set(done.output), done.output
        assert host.root(LOOK) == before
        return done

    health = run("playbooks/health.yml", **HOSTILE)
    assert health.code == 2, health.output
    tasks = run(HERE / "tasks.yml")
    assert tasks.code == 0, tasks.output
    for arguments in (["--check"], []):
        clean = run("playbooks/clean_cache.yml", *arguments, hf_cache_path=CACHE)
        assert clean.code == 0, clean.output
    deploy = run("playbooks/deploy.yml", **HONEST)
    assert deploy.code == 0, deploy.output
    health = run("playbooks/health.yml", **HONEST)
    assert health.code == 0, health.output
    watchdog = f"{SERVICE}-watchdog.service"
    wait_until(lambda: host.run("systemctl is-active %s", watchdog).stdout.strip() != "activating", "its look ends")
    assert host.root(f"systemctl show --property=Result --value {watchdog}").strip() == "success"
    uninstall = run("playbooks/uninstall.yml", **HONEST)
    assert uninstall.code == 0, uninstall.output
    assert not host.file(HOME).exists
    assert host.root(f"docker inspect --format '{{{{.State.Running}}}}' {LIAR}").strip() == "true"
    with host.sudo():
        assert host.run("find %s -type l -lname '/*'", COPIED).stdout == ""
    assert free - int(host.root("df --output=avail -B1 /opt | tail -1")) < 2 << 30
