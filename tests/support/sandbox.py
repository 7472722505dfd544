# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated Sparks of `make sandbox`: their addresses, SSH as a user, and the Docker engine that runs them."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import docker
import yaml
from docker.models.containers import Container
from testinfra.host import Host

from support.hub import HubClient
from support.paths import ROOT, SANDBOX

SETTINGS = yaml.safe_load((SANDBOX / "vars.yml").read_text())
INVENTORY = ROOT / "inventories" / "sandbox"
ADDRESSES: dict[str, str] = {
    name: host["ansible_host"]
    for name, host in yaml.safe_load((INVENTORY / "hosts.yml").read_text())["spark"]["hosts"].items()
}
NAMES = list(ADDRESSES)
HUB_ADDRESS: str = SETTINGS["sandbox_hub"]
HUB = f"http://{HUB_ADDRESS}:{SETTINGS['sandbox_hub_port']}"
REGISTRY = f"{SETTINGS['sandbox_registry']}:{SETTINGS['sandbox_registry_port']}"
# The CPU build of vLLM 0.32 that stands in for the image of the guide.
IMAGE = f"{REGISTRY}/{SETTINGS['sandbox_vllm_image']}"
# This machine, as the hosts see it: for a hub that a test starts.
GATEWAY = str(next(ipaddress.ip_network(SETTINGS["sandbox_subnet"]).hosts()))
_PLACE = os.environ.get("DGXSPARK_SANDBOX_DIR")
STATE = Path(_PLACE, "dgxspark-sandbox") if _PLACE else ROOT / ".sandbox"

# What the sandbox's inventory deploys when nothing else is asked for.
MODEL = "Qwen/Qwen3-8B-FP8"
CONTAINER = "vllm-qwen3-8b-fp8"
CACHE = "/opt/hf"


@dataclass(frozen=True)
class Ssh:
    """How the inventory reaches a host."""

    address: str
    user: str = "dgx"
    key: Path = STATE / "id_ed25519"
    options: tuple[str, ...] = (
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        "-oLogLevel=ERROR",
    )

    @property
    def target(self) -> str:
        return f"{self.user}@{self.address}"

    def command(self, *options: str) -> list[str]:
        """`ssh` up to the host's name; what the host is to run follows."""
        return ["ssh", *self.options, "-i", str(self.key), *options, self.target]


class Spark(Host):
    """A host, as an ordinary user with sudo: testinfra's Host with what the journeys often do."""

    name: str
    ssh: Ssh

    @classmethod
    def connect(cls, name: str, folder: str) -> Self:
        """All commands share one connection, whose socket is in the folder."""
        ssh = Ssh(ADDRESSES[name])
        spark = cls.get_host(
            f"ssh://{ssh.target}",
            ssh_identity_file=str(ssh.key),
            ssh_extra_args=" ".join(ssh.options),
            controlpath=f"{folder}/{name}",
            controlpersist=30,
        )
        assert isinstance(spark, cls)
        spark.name, spark.ssh = name, ssh
        return spark

    @property
    def limit(self) -> str:
        """The argument of a playbook that touches this host only."""
        return f"--limit={self.name}"

    def root(self, script: str) -> str:
        """Run a shell script as root, which must succeed, and return its output."""
        with self.sudo():
            output: str = self.check_output("sh -euc %s", script)
        return output

    def write(self, path: str, text: str) -> None:
        """Write a file as root, with the folders that it needs."""
        folder = shlex.quote(path.rpartition("/")[0])
        self.root(f"mkdir -p {folder}; printf %s {shlex.quote(text)} >{shlex.quote(path)}")

    def copy(self, *files: Path, to: str = "/tmp/") -> None:
        copy = ["scp", "-q", *self.ssh.options, "-i", self.ssh.key, *files, f"{self.ssh.target}:{to}"]
        subprocess.run(copy, check=True)

    def inspect(self, container: str = CONTAINER) -> dict[str, Any]:
        """`docker inspect` on the host."""
        found: dict[str, Any] = json.loads(self.root(f"docker inspect {shlex.quote(container)}"))[0]
        return found


class Sandbox:
    """The hosts by name, the hub, and what only the engine beneath them can do."""

    def __init__(self) -> None:
        self.hub = HubClient(HUB)
        self._hosts: dict[str, Spark] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._folder = self._open.enter_context(tempfile.TemporaryDirectory())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @cached_property
    def engine(self) -> docker.DockerClient:
        return self._open.enter_context(contextlib.closing(docker.from_env()))

    def __getitem__(self, name: str) -> Spark:
        if name not in self._hosts:
            self._hosts[name] = Spark.connect(name, self._folder)
        return self._hosts[name]

    @property
    def hosts(self) -> dict[str, Spark]:
        return {name: self[name] for name in NAMES}

    def container(self, name: str) -> Container:
        """Of a host, of the hub or of the registry."""
        return self.engine.containers.get(f"{SETTINGS['sandbox_name']}-{name}")

    def cut_power(self, name: str) -> None:
        """A host goes off without a warning, and on again."""
        container = self.container(name)
        container.kill()
        container.start()
        if name in self._hosts:  # its SSH connection would not notice for long
            ssh = self._hosts[name].ssh
            subprocess.run(ssh.command("-Oexit", f"-oControlPath={self._folder}/{name}"), check=False)

    @contextmanager
    def on_again(self, name: str) -> Iterator[None]:
        """The host reboots once: its container ends, and does not start by itself as a machine does."""
        container = self.container(name)

        def boot() -> None:
            container.wait()
            container.start()

        thread = threading.Thread(target=boot, daemon=True)
        thread.start()
        yield
        thread.join(60)
        assert not thread.is_alive(), f"{name} has not been rebooted"

    @contextmanager
    def silent(self, *names: str) -> Iterator[None]:
        """Hub or registry are there, and do not answer."""
        with ExitStack() as back:
            for name in names:
                container = self.container(name)
                container.pause()
                back.callback(container.unpause)
            yield
