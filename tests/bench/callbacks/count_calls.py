# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes each module that Ansible runs on a host in the file BENCH_CALLS, one line each. Only for tests/bench."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: count_calls
type: aggregate
short_description: Notes each module that runs on a host
description:
  - One line for each module call, looks of an action plugin and polls of a background task included.
author:
  - The dgxspark.vllm authors (@dgxspark)
"""

_execute = ActionBase._execute_module


def _noted(self: ActionBase, *args: t.Any, **kwargs: t.Any) -> t.Any:
    name = kwargs.get("module_name") or (args[0] if args else None) or self._task.action
    host = (kwargs.get("task_vars") or {}).get("inventory_hostname", "?")
    with open(os.environ["BENCH_CALLS"], "a", encoding="utf-8") as file:  # of many processes: one short line each
        file.write(f"{host} {name}\n")
    return _execute(self, *args, **kwargs)


# Before the workers are forked, so that all of them have it.
ActionBase._execute_module = _noted


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "count_calls"
    CALLBACK_NEEDS_ENABLED = True
