# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ray as the service of a pair. Ray is real; the image is the sandbox's with Ray added, and the engine a stand-in."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.paths import SUPPORT
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import CONTAINER, IMAGE, REGISTRY, Spark
from support.waiting import wait_until

HOME = "/opt/vllm"
NAME = "standin/vllm-ray:1"
PORT = 29501
ENGINE = "/usr/local/share/standin_engine.py"
PAIR: dict[str, Any] = {
    "vllm_nodes": ["spark01", "spark02"],
    "vllm_node_address": "{{ ansible_host }}",
    "vllm_image": f"nvcr.io/{NAME}",
    "vllm_images": {
        f"nvcr.io/{NAME}": {
            "vllm": "0.32.0",
            "multi_node": False,
            "ray": True,
            "status": "good",
            "command_prefix": ["python3", ENGINE, "serve"],
        }
    },
}
NODES = (
    "import ray; ray.init(logging_level='ERROR', log_to_driver=False);"
    " print(*sorted(node['NodeManagerAddress'] for node in ray.nodes() if node['Alive']))"
)


@pytest.fixture(scope="module")
def image(two_hosts: dict[str, Spark], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The sandbox's vLLM with Ray, on both hosts."""
    root = tmp_path_factory.mktemp("ray")
    local = root / "usr" / "local"
    site = local / "lib" / "python3.11" / "dist-packages"
    choice = ["--no-deps", "--no-compile", "--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *choice, f"--target={site}"]
    subprocess.run([*pip, "ray==2.58.0", "msgpack==1.2.1"], check=True)
    program = local / "bin" / "ray"
    program.parent.mkdir()
    program.write_text("#!/usr/bin/python3\nfrom ray.scripts.scripts import main\n\nmain()\n")
    program.chmod(0o755)
    (root / ENGINE[1:]).parent.mkdir()
    shutil.copy(SUPPORT / "standin_engine.py", root / ENGINE[1:])
    create = f"docker rm --force made 2>/dev/null; docker create --name made {IMAGE}"
    script = f"{create} && docker cp - made:/ && docker commit made {REGISTRY}/{NAME} && docker rm made"
    for host in two_hosts.values():
        tar = subprocess.Popen(["tar", "--create", f"--directory={root}", "usr"], stdout=subprocess.PIPE)
        done = subprocess.run(
            [*host.ssh.command(), f"sudo sh -c {shlex.quote(script)}"], stdin=tar.stdout, capture_output=True, text=True
        )
        tar.wait()
        assert done.returncode == 0, done.stderr
    yield
    for host in two_hosts.values():
        host.root(f"docker rmi --force {REGISTRY}/{NAME}")


@pytest.fixture(scope="module")
def deployment(image: None, two_hosts: dict[str, Spark], ansible_playbook: AnsiblePlaybook) -> Iterator[Run]:
    run = ansible_playbook("playbooks/deploy.yml", **PAIR)
    assert run.code == 0, run.output
    yield run
    removed = ansible_playbook("playbooks/uninstall.yml", **PAIR)
    assert removed.code == 0, removed.output
    for host in two_hosts.values():
        assert_nothing_left(host, "--all")


def assert_nothing_left(host: Spark, which: str = "") -> None:
    """Neither a container of the service nor a rule for its ports."""
    assert host.root(f"docker ps {which} --quiet --filter label=com.docker.compose.project=dgxspark-vllm") == ""
    assert f"DGXSPARK-{PORT}" not in host.root("iptables -S; ip6tables -S")


class Cluster:
    """As the head sees it: whole if both are in it, and `vllm serve` runs."""

    def __init__(self, hosts: dict[str, Spark]) -> None:
        self.head, self.worker = (hosts[name] for name in PAIR["vllm_nodes"])
        self.addresses = [host.ssh.address for host in (self.head, self.worker)]

    def is_whole(self) -> bool:
        with contextlib.suppress(RuntimeError, AssertionError):
            found = self.head.root(f"docker exec {CONTAINER}-ray python3 -c {shlex.quote(NODES)} 2>/dev/null")
            running = self.head.root(f"docker inspect --format '{{{{.State.Running}}}}' {CONTAINER}").strip()
            return found.split() == self.addresses and running == "true"
        return False

    def started(self) -> str:
        return self.worker.root(f"docker inspect --format '{{{{.State.StartedAt}}}}' {CONTAINER}").strip()

    def forms_again(self, what: str, restart: Spark, figure: Callable[[str], None]) -> None:
        """With the watchdog as it is deployed. The restarts of a test are no sign of a fault."""
        for host in (self.head, self.worker):
            host.root(f"python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm {HOME}")
        before, begin = self.started(), time.monotonic()
        restart.root("systemctl restart vllm")
        wait_until(lambda: self.started() != before and self.is_whole(), f"{what}: the cluster is whole", timeout=180)
        figure(f"{what}: two nodes again after {time.monotonic() - begin:.0f} s")


@pytest.fixture
def cluster(deployment: Run, two_hosts: dict[str, Spark]) -> Cluster:
    return Cluster(two_hosts)


def test_both_are_one_cluster(cluster: Cluster, figure: Callable[[str], None]) -> None:
    assert cluster.is_whole()
    head = " ".join(cluster.head.inspect()["Args"])
    assert "--tensor-parallel-size 2 --distributed-executor-backend ray" in head
    assert f"--address={cluster.addresses[0]}:{PORT}" in " ".join(cluster.worker.inspect()["Args"])
    sizes = cluster.head.root(f"docker exec {CONTAINER}-ray sh -c 'du -sm /root/.cache/ray'")
    figure(f"what Ray has written: {sizes.split()[0]} MB")


def test_health_knows_both(cluster: Cluster, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/health.yml", **PAIR)
    assert run.code == 0, run.output
    assert "2 hosts: 2 ready" in run.words


def test_only_the_pair_reaches_its_ports(cluster: Cluster) -> None:
    for address in cluster.addresses:
        with pytest.raises(OSError, match="timed out"):
            socket.create_connection((address, PORT + 1), timeout=2)


def test_a_worker_that_restarts_joins_again(cluster: Cluster, figure: Callable[[str], None]) -> None:
    cluster.forms_again("worker restarted", cluster.worker, figure)


def test_the_head_brings_back_the_whole(cluster: Cluster, figure: Callable[[str], None]) -> None:
    cluster.forms_again("head restarted", cluster.head, figure)


def test_a_stop_opens_the_ports(cluster: Cluster, ansible_playbook: AnsiblePlaybook) -> None:
    run = ansible_playbook("playbooks/stop.yml", **PAIR)
    assert run.code == 0, run.output
    for host in (cluster.head, cluster.worker):
        assert_nothing_left(host)
