# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the journeys share: a host of the sandbox, a user's `ansible-playbook`, and waiting for a condition."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[1]
INVENTORY = Path(os.environ.get("DGXSPARK_INVENTORY") or ROOT / "inventories" / "sandbox")
HOSTS = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["spark"]["hosts"]


@dataclass
class Ssh:
    """How the inventory reaches a host. testinfra cannot ask it: it would not evaluate the template of the key."""

    address: str
    user: str = "dgx"
    key: Path = Path(os.environ.get("DGXSPARK_SANDBOX_DIR") or ROOT / ".sandbox") / "id_ed25519"
    options: str = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


@pytest.fixture(scope="module")
def ssh(request: pytest.FixtureRequest) -> Ssh:
    return Ssh(HOSTS[request.module.HOST]["ansible_host"])


@pytest.fixture(scope="module")
def spark(ssh: Ssh) -> Iterator[Host]:
    """The host that the test module names in HOST, as an ordinary user with sudo."""
    with connection(ssh) as host:
        yield host


@pytest.fixture(scope="session")
def connect() -> Callable[[str], AbstractContextManager[Host]]:
    """For a journey of several hosts."""
    return lambda name: connection(Ssh(HOSTS[name]["ansible_host"]))


@contextmanager
def connection(ssh: Ssh) -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as folder:  # of the connection that all commands share
        yield testinfra.get_host(
            f"ssh://{ssh.user}@{ssh.address}",
            ssh_identity_file=str(ssh.key),
            ssh_extra_args=ssh.options,
            controlpath=f"{folder}/ssh",
            controlpersist=30,
        )


@dataclass
class Run:
    """What a run of ansible-playbook said."""

    code: int
    output: str
    lines: list[tuple[float, str]] = field(default_factory=list)  # with the time at which the terminal showed them

    def count(self, host: str, what: str) -> int:
        """A number of the recap, for example count("spark01", "changed")."""
        recap = re.search(rf"^{host} +: .*?\b{what}=(\d+)", self.output, re.MULTILINE)
        assert recap, f"{host} is not in the recap:\n{self.output}"
        return int(recap[1])


def run_playbook(
    playbook: str,
    *arguments: str,
    timeout: float = 900,
    on_line: Callable[[str], None] = lambda _line: None,
    interrupt: str = "",
    **variables: Any,
) -> Run:
    """Runs a playbook of the repository on the sandbox, as its README says; on_line sees each line as it is shown.

    A line with the text INTERRUPT is answered with Ctrl-C. ansible-core may hang then: what does not end is killed.
    """
    extra = ["--extra-vars", json.dumps(variables)] if variables else []
    # Molecule's own settings of Ansible are not a user's
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    run = subprocess.Popen(
        ["ansible-playbook", "--inventory", str(INVENTORY), *arguments, *extra, playbook],
        cwd=ROOT,
        env={**environment, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches all processes of a terminal, and not these tests
    )
    lines: list[tuple[float, str]] = []
    late = threading.Timer(timeout, run.kill)
    late.start()
    try:
        assert run.stdout is not None
        for line in run.stdout:
            lines.append((time.time(), line.rstrip("\n")))
            on_line(line)
            if interrupt and interrupt in line:
                os.killpg(run.pid, signal.SIGINT)
                interrupt = ""
                hangs = threading.Timer(5, run.kill)
                hangs.daemon = True
                hangs.start()
    except BaseException:
        run.kill()
        raise
    finally:
        code = run.wait()
        in_time = late.is_alive()
        late.cancel()
    output = "".join(f"{line}\n" for _when, line in lines)
    assert in_time, f"{playbook} did not end within {timeout} s:\n{output}"
    return Run(code, output, lines)


@pytest.fixture(scope="session")
def playbook() -> Callable[..., Run]:
    return run_playbook


def wait_until(condition: Callable[[], Any], what: str, timeout: float = 300) -> Any:
    """The condition's first true value. The time is enough for an engine's start on a machine that is slow."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.2)
    return value


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    return wait_until
