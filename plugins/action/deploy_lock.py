# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes the lock of a service in the name of this run of ansible-playbook, with the module of the same name."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import re
import socket
import time
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.lock import word
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen

MODULE = "dgxspark.vllm.deploy_lock"
# Of a process: it lives, but when it began cannot be told; it is over.
UNKNOWN = "?"
OVER = ""

display = Display()


class ActionModule(ActionBase):
    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        host = str(self._task.delegate_to or task_vars.get("inventory_hostname", "the host"))
        answer = self._ask(task_vars)
        if answer.get("refused") and is_over(answer["holder"]["run"]):
            answer = self._ask(task_vars, dead=answer["holder"]["run"])
        if answer.pop("refused", False):
            on = machine_of(host, task_vars)
            answer.update(failed=True, msg=refusal(answer["holder"], host, on, answer["lock_file"]))
        elif answer.get("healed") and is_wanted_on_screen():
            display.display(f"{host} | the lock of a run that is over was taken (of {who(answer['healed'])})")
        return {**result, **answer}

    def _ask(self, task_vars: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
        arguments = {**self._task.args, "run": this_run(), **more}
        answer: dict[str, t.Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return answer


def this_run() -> dict[str, str]:
    """Who deploys: a name for this process of ansible-playbook that no other one has, and what an operator calls it."""
    # A task runs in a child, which may outlive a playbook that was killed: getppid() would not tell that.
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent and parent.pid else os.getpid()
    began = started(pid)
    if began == OVER:
        raise AnsibleActionFail("The ansible-playbook of this task was killed: it takes no lock any more")
    return {"run": f"{machine()}/{pid}/{began}", "user": user(), "controller": word(socket.gethostname())}


def is_over(run: str) -> bool:
    """Whether it was a run of this machine, and its process is gone."""
    found = re.fullmatch(rf"{re.escape(machine())}/(\d{{1,9}})/(.+)", run)
    if not found:
        return False
    began = started(int(found[1]))
    return began == OVER or (UNKNOWN not in (began, found[2]) and began != found[2])


def who(holder: t.Mapping[str, t.Any]) -> str:
    return f"{holder['user']} on {holder['controller']} since {utc(holder['since'])}"


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def refusal(holder: t.Mapping[str, t.Any], host: str, on: str, path: str) -> str:
    """The other run may deploy, restart, roll back or uninstall. ON is the machine of HOST, on which PATH lies."""
    return (
        f"Another run works on {host}: {who(holder)}. Nothing that runs was changed."
        f" Wait until that one has ended; if it is dead, its lock ends at {utc(holder['until'])},"
        f" or at once with: sudo rm {path} on {on}"
    )


def machine_of(host: str, task_vars: t.Mapping[str, t.Any]) -> str:
    """Where several services share a machine, each of them is a host of the inventory; HOST may be another one's."""
    of_host = (task_vars.get("hostvars") or {}).get(host) or task_vars
    return str(of_host.get("dgxspark_host") or host)


def user() -> str:
    try:
        return word(getpass.getuser())
    except (KeyError, OSError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def machine() -> str:
    """The boot of this machine, and the namespace in which its process ids count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    except OSError:  # no Linux
        return word(socket.gethostname())


def started(pid: int) -> str:
    """When the process began, in the kernel's clock ticks."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # gone, not ours to see, or no Linux
        return UNKNOWN if lives(pid) else OVER
    state, *fields = stat.rpartition(")")[2].split()
    return OVER if state in "ZX" else fields[18]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
