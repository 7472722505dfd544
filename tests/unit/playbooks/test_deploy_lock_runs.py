# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operators at once: real runs of ansible-playbook, the lock in a folder of the test instead of /run."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent


class Operators:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "run" / "vllm.lock"
        # Beside the playbook: it wins over the one that is installed.
        mine = folder / "collections" / "ansible_collections" / "dgxspark" / "vllm"
        shutil.copytree(ROOT / "plugins", mine / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
        module = mine / "plugins" / "modules" / "deploy_lock.py"
        before = module.read_text()
        module.write_text(before.replace('"/run/dgxspark.vllm"', repr(str(self.lock.parent))))
        assert module.read_text() != before
        deploy = f"touch {folder}/deploys; while [ ! -e {folder}/go ]; do sleep 0.05; done"
        lock = {"dgxspark.vllm.deploy_lock": {"service": "vllm"}}
        free = {"dgxspark.vllm.deploy_lock": {"service": "vllm", "state": "absent"}}
        work = {"ansible.builtin.command": {"argv": ["sh", "-c", deploy]}, "when": "slow | default(false) | bool"}
        tasks = [{"block": [lock, work, lock], "always": [free]}]
        play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
        (folder / "play.yml").write_text(yaml.safe_dump([play]))
        variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"spark01": variables}}}))
        self.command = [str(BIN / "ansible-playbook"), "-i", "hosts.yml", "play.yml"]
        self.how: dict[str, t.Any] = {
            "cwd": folder,
            "text": True,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "env": {
                **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                "ANSIBLE_HOME": str(folder / "home"),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            },
        }

    def deploy(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command, timeout=300, check=False, **self.how)

    def begin(self) -> subprocess.Popen[str]:
        """A deployment that has the lock, and takes its time."""
        process = subprocess.Popen([*self.command, "-e", "slow=true"], **self.how)
        deadline = time.monotonic() + 120
        while not (self.folder / "deploys").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        return process


@pytest.fixture
def operators(tmp_path: Path) -> t.Iterator[Operators]:
    yield Operators(tmp_path)
    (tmp_path / "go").touch()  # ends what a killed run has left


def test_the_second_is_refused_and_a_dead_lock_heals(operators: Operators) -> None:
    first = operators.begin()
    second = operators.deploy()
    assert second.returncode == 2, second.stdout
    told = " ".join(second.stdout.split())
    who = f"{re.escape(getpass.getuser())} on {re.escape(socket.gethostname())}"
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.search(rf"spark01 is being deployed by {who} since {when}\. Nothing that runs was changed\.", told), told
    first.kill()  # with -9, and nobody has waited for it: a zombie
    third = operators.deploy()
    assert third.returncode == 0, third.stdout  # it has renewed the lock in another task, as the same run
    told = rf"^spark01 \| the lock of a deployment that is over was taken \(of {who} since {when}\)$"
    assert re.search(told, third.stdout, re.MULTILINE), third.stdout
    assert operators.lock.read_text() == ""
    (operators.folder / "go").touch()
    first.communicate(timeout=60)
