# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the lock of a service in the name of this run of ansible-playbook. The module of the same name does the work."""

from __future__ import annotations

import getpass
import os
import socket
import time
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE = "dgxspark.vllm.deploy_lock"

display = Display()


class ActionModule(ActionBase):
    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        mine = this_run()
        answer = self._ask(mine, task_vars)
        if answer.get("refused") and is_over(answer["holder"], mine["machine"]):
            answer = self._ask({**mine}, task_vars, dead=answer["holder"]["run"])
        host = task_vars.get("inventory_hostname", "the host")
        if answer.pop("refused", False):
            answer.update(failed=True, msg=refusal(answer["holder"], host, self._task.args.get("service", "")))
        elif answer.get("healed"):
            display.display(f"{host} | the lock of a deployment that is over was taken")
        return {**result, **answer}

    def _ask(self, run: dict[str, str], task_vars: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
        arguments = {**self._task.args, "run": run, **more}
        answer: dict[str, t.Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return answer


def this_run() -> dict[str, str]:
    """Who deploys: a name for this process of ansible-playbook that no other one has, and what an operator calls it."""
    playbook = os.getppid()  # tasks run in a child of its own
    machine = _machine()
    return {
        "run": f"{machine}/{playbook}/{_started(playbook)}",
        "machine": machine,
        "user": getpass.getuser(),
        "controller": socket.gethostname(),
    }


def is_over(holder: t.Mapping[str, t.Any], machine: str) -> bool:
    """Whether the run that holds the lock was one of this machine, and its process is gone."""
    if holder["machine"] != machine:
        return False
    pid, started = str(holder["run"]).split("/")[-2:]
    return _started(int(pid)) != started


def refusal(holder: t.Mapping[str, t.Any], host: str, service: str) -> str:
    since, until = (time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder[key])) for key in ("since", "until"))
    return (
        f"{host} is being deployed by {holder['user']} on {holder['controller']} since {since}. Nothing was changed."
        f" Wait until that run has ended; if it is dead, its lock ends at {until},"
        f" or at once with: rm /run/dgxspark.vllm/{service}.lock on {host}"
    )


def _machine() -> str:
    """The boot of this machine, and the namespace in which its process ids count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    except OSError:  # no Linux
        return socket.gethostname()


def _started(pid: int) -> str:
    """When the process began, in the kernel's clock ticks; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if not _lives(pid) else "?"
    return stat.rpartition(")")[2].split()[19]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
