# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what changed, what failed and what a playbook has to say, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
name: brief
type: stdout
short_description: Print changes, failures and messages only
version_added: "0.1.0"
author:
  - The dgxspark.vllm authors (@dgxspark)
description:
  - Prints a task only if it changed something or failed. Messages of M(ansible.builtin.debug) are printed as text.
  - Prints a failure once, as text. A failure that the playbook handles itself is one line; the message of the task that
    ends the host's run names its reason.
  - A run that was broken off, with Ctrl-C for example, ends with a line on how to go on, or that nothing was begun. So
    does a play in batches that has lost hosts, whatever it was doing; the line names the limit that leaves them out.
  - After a report from which a query selects, such as O(dgxspark.vllm.health_report#module:query), no recap follows its
    JSON, so that another program can read it. The exit code tells how the run ended.
  - If an inventory without a host of the group C(spark) leaves a play without hosts, a line says how to name one.
  - With C(-v) it prints everything, as P(ansible.builtin.default#callback) does.
  - If no host failed and none was unreachable, C(ansible-playbook) ends with the exit code that a task returned as
    RV(dgxspark.vllm.health_report#module:exit_code). If that is not 0, other callbacks do not print their summaries, as
    C(profile_tasks) and C(junit) would.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - Set as C(stdout_callback) in ansible.cfg, or in C(ANSIBLE_STDOUT_CALLBACK).
seealso:
  - plugin: ansible.builtin.default
    plugin_type: callback
"""

import atexit
import os
import typing as t

from ansible import constants as C
from ansible.playbook.block import Block
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.pages import read_more
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.go_on import go_on
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.unseen import with_remedy

MESSAGES = ("debug", "ansible.builtin.debug")
# What modules say where the reason is in the output of the program that they ran, and where that is.
EMPTY = (
    "non-zero return code",
    "The command exited with a non-zero return code",  # ansible-core 2.21
    "failed to validate",
    "MODULE FAILURE",
    "Module result deserialization failed",
)
SPOKEN = ("stderr", "module_stderr", "stdout", "module_stdout")

BROKEN_OFF = (
    "The run was broken off. {} Until then, playbooks/health.yml shows what serves. "
    f"More: {read_more('docs/reference/deploy.md#interrupted-runs')}"
)
AGAIN = (
    "Start it again with the same command: a deployment reads from the hosts what was begun, and completes it or takes "
    "it back."
)
# By name, because `current` may be that release by now: the one before it is another one.
ROLL_BACK_AGAIN = (
    "Start it again with -e vllm_rollback_release= and the release that you want: without it, a rollback that had "
    "begun goes back where it came from. playbooks/releases.yml lists them."
)
READING = ("explain", "health", "list_models", "logs", "preflight", "releases", "report", "watch")
ONLY_READ = "The run was broken off. It changes nothing on the hosts, so nothing has to be undone or repeated."
NOT_BEGUN = (
    "No task was started, so nothing was changed. If a vault could not be decrypted: give --ask-vault-pass or "
    "--vault-password-file, with its password."
)
NO_HOST = "no host: copy inventories/example to inventories/mine, or name an inventory with -i"


class CallbackModule(Default):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "dgxspark.vllm.brief"

    def __init__(self) -> None:
        super().__init__()
        self._exit_code = 0
        self._runs_in: int | None = None  # process of a run that has not ended
        self._again = ""  # what a run that was broken off says
        self._has_begun = False  # a task of it was started; before that, Ansible may fail to read the inventory
        self._says_no_host = True
        self._unreachable: set[str] = set()  # also where the run handled it, in words of its own
        self._is_for_programs = False  # the output of the run is the JSON that a query selects

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        super().v2_playbook_on_start(playbook)
        self._runs_in = os.getpid()
        name = os.path.basename(playbook._file_name).removesuffix(".yml")
        again = BROKEN_OFF.format(ROLL_BACK_AGAIN if name == "rollback" else AGAIN)
        self._again = ONLY_READ if name in READING else again
        atexit.register(self._broken_off)  # Ansible tells no callback of Ctrl-C

    def _broken_off(self) -> None:
        if self._runs_in == os.getpid():
            self._display.display(self._again if self._has_begun else NOT_BEGUN, color=C.COLOR_WARN)

    def v2_playbook_on_include(self, included_file: t.Any) -> None:
        if self._is_verbose():
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        if self._is_verbose():
            super().v2_playbook_on_play_start(play)
        else:
            self._play = play

    def v2_playbook_on_no_hosts_matched(self) -> None:
        super().v2_playbook_on_no_hosts_matched()
        known = self._play.get_variable_manager().get_vars(play=self._play)
        if self._says_no_host and not known["groups"].get("spark"):
            self._says_no_host = False
            self._line(NO_HOST, C.COLOR_WARN)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        """The table of hosts and the recap say it."""

    def _task_start(self, task: t.Any, prefix: str | None = None) -> None:
        self._has_begun = True
        if self._is_verbose():
            super()._task_start(task, prefix)
            return
        if prefix is not None:
            self._task_type_cache[task._uuid] = prefix
        self._last_task_name = task.get_name().strip()  # the banner is printed with the first line below it

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        if self._is_verbose():
            super().v2_runner_on_skipped(result)

    v2_runner_item_on_skipped = v2_runner_on_skipped

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._exit_code = max(self._exit_code, int(result.result.get("exit_code") or 0))
        self._is_for_programs |= "selected" in result.result
        if self._is_verbose() or result.result.get("changed"):
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings(result.result)
        if result.task.action in MESSAGES and not result.task.loop:
            self._say(result)

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        if self._is_verbose() or result.result.get("changed"):
            super().v2_runner_item_on_ok(result)
            return
        self._handle_warnings(result.result)
        if result.task.action in MESSAGES:
            self._say(result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        if self._is_verbose() or (result.task.loop and "results" in result.result):
            super().v2_runner_on_failed(result, ignore_errors)
            return
        self._handle_warnings(result.result)
        message = text(result.result)
        if ignore_errors or result.result.get("is_shown"):
            return
        if is_rescued(result.task):
            if result.task.check_mode:  # nothing is under way that would have to be explained
                return
            name = result.task.get_name().rpartition("| ")[2].rpartition(" : ")[2]
            self._line(f"{result.host.get_name()}: {name}: failed; the reason follows", C.COLOR_WARN)
        else:
            self._failed(result, message)

    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        if self._is_verbose():
            super().v2_runner_item_on_failed(result)
        elif not (result.result.get("unreachable") and result.task.ignore_unreachable):
            self._failed(result, text(result.result))

    def _failed(self, result: t.Any, message: str) -> None:
        host = result.host.get_name()
        # Many messages begin with it, because they are also shown elsewhere.
        self._line(f"{host}: FAILED: {with_remedy(message.removeprefix(f'{host}: '))}", C.COLOR_ERROR)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._unreachable.add(result.host.get_name())
        if self._is_verbose():
            super().v2_runner_on_unreachable(result)
        elif not result.task.ignore_unreachable and not result.result.get("is_shown"):
            message = with_remedy(text(result.result), unreachable=True)
            self._line(f"{result.host.get_name()}: UNREACHABLE: {message}", C.COLOR_UNREACHABLE)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._runs_in = None
        if not self._is_for_programs:
            super().v2_playbook_on_stats(stats)
        if stats.failures or stats.dark:
            self._say_how_to_go_on({*stats.failures, *stats.dark}, {*stats.dark, *self._unreachable})
        if self._exit_code and not stats.failures and not stats.dark:
            raise SystemExit(self._exit_code)

    def _say_how_to_go_on(self, failed: t.Collection[str], unreachable: t.Collection[str]) -> None:
        """No task can: where a whole batch is lost, Ansible ends the run."""
        if self._play is None or not self._play.serial:  # other plays have done what they could on each host
            return
        known = self._play.get_variable_manager().get_vars(play=self._play)
        hosts, variables = known["ansible_play_hosts_all"], known["hostvars"]
        lost: dict[str, None] = {}  # in the order of the inventory
        gone: set[str] = set()
        for host in (name for name in hosts if name in failed):
            # what hosts serve together waits for all of them; a machine is lost with all of its services
            machine = variables[host].get("dgxspark_host") if host in unreachable else None
            group = variables[host].get("vllm_nodes") or []
            lost |= dict.fromkeys([machine or host, *(name for name in hosts if name in group)])
            gone |= {host, *group, *(known["groups"].get(machine) or [])}
        left = [name for name in hosts if name not in gone]
        line = go_on(list(lost), left, known.get("ansible_limit") or "", bool(set(failed) - set(unreachable)))
        if line:
            self._line(line, C.COLOR_WARN)

    def _is_verbose(self) -> bool:
        return bool(self._display.verbosity)

    def _say(self, result: t.Any) -> None:
        if self.get_option("display_ok_hosts"):
            self._line(text(result.result), C.COLOR_OK)

    def _line(self, line: str, color: str) -> None:
        self._display.display(f"{line.strip()}\n", color=color)


def text(result: t.Mapping[str, t.Any]) -> str:
    """The message of a result, with what the program said if the message says nothing; or what there is instead."""
    said = next((str(result[key]).strip() for key in SPOKEN if result.get(key)), "")
    message = result.get("msg") or result.get("reason") or said
    if isinstance(message, str) and message.startswith(EMPTY) and said:
        return f"{message.rstrip('.')}: {said}"
    return message if isinstance(message, str) and message else str(message or {**result})


def is_rescued(task: t.Any) -> bool:
    """Whether a block around TASK handles its failure."""
    child, parent = task, task._parent
    while parent is not None:
        if isinstance(parent, Block) and parent.rescue and any(each._uuid == child._uuid for each in parent.block):
            return True
        child, parent = parent, getattr(parent, "_parent", None)
    return False
