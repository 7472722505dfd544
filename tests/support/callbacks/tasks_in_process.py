# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the tasks of a play in the process of ansible-playbook, one after the other.

A fork for each, which knows no template and has no plugin yet, takes half of what a play of many small tasks takes.
Results go the way they always do. Only for tests.
"""

from __future__ import annotations

import contextlib
import sys
import typing as t
from unittest import mock

from ansible import constants
from ansible.executor.process import worker
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: tasks_in_process
type: aggregate
short_description: Runs tasks without processes of their own
description:
  - Tasks run in the process of ansible-playbook, one after the other.
author:
  - The dgxspark.vllm authors (@dgxspark)
"""


class _Shown:
    """Standard output. A worker looks whether anything was written to what it has instead of it."""

    def __init__(self, stream: t.TextIO) -> None:
        self._stream = stream

    def getvalue(self) -> str:
        return ""

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._stream, name)


def _start(self: worker.WorkerProcess) -> None:
    """The worker gets a task of its own, and forgets a host's variables at its end: in a fork, that is a copy."""
    host, task = self._host, self._task
    its_vars, its_groups = host.vars, host.groups
    self._task = task.copy(exclude_parent=True, exclude_tasks=True)
    self._task._parent = task._parent
    shown, errors = t.cast(t.TextIO, _Shown(sys.stdout)), t.cast(t.TextIO, _Shown(sys.stderr))
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(errors):
            self.run()
    finally:
        host.vars, host.groups, self._task = its_vars, its_groups, task


def _give_up(_self: worker.WorkerProcess, error: str) -> t.NoReturn:
    raise RuntimeError(error)


worker.WorkerProcess.start = _start
worker.WorkerProcess.is_alive = lambda _self: False
worker.WorkerProcess.close = lambda _self: None
worker.WorkerProcess._hard_exit = _give_up
# What a worker does to its process: it leaves the terminal, shows what it says through its parent, and heeds signals.
worker.WorkerProcess._detach = lambda _self: None
worker.display = mock.Mock(wraps=worker.display, set_queue=lambda _queue: None)
worker.signal = mock.Mock()
# Seconds until a result is looked for again, which is there already: of a process it takes longer.
constants.DEFAULT_INTERNAL_POLL_INTERVAL = 0.0002


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "tasks_in_process"
    CALLBACK_NEEDS_ENABLED = True
