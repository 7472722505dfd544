# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of the same name, and compares the clock of the host with that of the controller."""

from __future__ import annotations

import time
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.clock import compared


class ActionModule(ActionBase):
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        wrap_async = bool(self._task.async_val) and not self._connection.has_native_async
        before = time.time()
        result.update(self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        after = time.time()
        read = (result.get("spark") or {}).get("time")
        if read is not None and not self._task.async_val:
            result["clock"] = compared(read, before, after)
        return result
