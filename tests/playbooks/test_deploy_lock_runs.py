# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operators at once: real runs of ansible-playbook, the lock in a folder of the test instead of /run."""

from __future__ import annotations

import getpass
import re
import shutil
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook, Run
from support.waiting import wait_until


class Operators:
    def __init__(self, folder: Path, ansible_playbook: AnsiblePlaybook) -> None:
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
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"spark01": THIS_MACHINE}}}))
        self.ansible_playbook = ansible_playbook

    def deploy(self) -> Run:
        return self.ansible_playbook("play.yml", inventory="hosts.yml", folder=self.folder)

    def begin(self) -> subprocess.Popen[str]:
        """A deployment that has the lock, and takes its time."""
        process = self.ansible_playbook.start("play.yml", inventory="hosts.yml", folder=self.folder, slow=True)

        def has_begun() -> bool:
            assert process.poll() is None, process.communicate()[0]
            return (self.folder / "deploys").exists()

        wait_until(has_begun, "it has the lock", pause=0.02)
        return process


@pytest.fixture
def operators(tmp_path: Path, as_a_user: AnsiblePlaybook) -> t.Iterator[Operators]:
    yield Operators(tmp_path, as_a_user)
    (tmp_path / "go").touch()  # ends what a killed run has left


def test_the_second_is_refused_and_a_dead_lock_heals(operators: Operators) -> None:
    first = operators.begin()
    second = operators.deploy()
    assert second.code == 2, second.output
    told = second.words
    who = f"{re.escape(getpass.getuser())} on {re.escape(socket.gethostname())}"
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.search(rf"Another run works on spark01: {who} since {when}\. Nothing that runs was changed\.", told), told
    first.kill()  # with -9, and nobody has waited for it: a zombie
    third = operators.deploy()
    assert third.code == 0, third.output  # it has renewed the lock in another task, as the same run
    told = rf"^spark01 \| the lock of a run that is over was taken \(of {who} since {when}\)$"
    assert re.search(told, third.output, re.MULTILINE), third.output
    assert operators.lock.read_text() == ""
    (operators.folder / "go").touch()
    first.communicate(timeout=60)
