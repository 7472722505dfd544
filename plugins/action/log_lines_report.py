# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the logs of all hosts as one. The documentation stands in plugins/modules/log_lines_report.py."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.log_lines import merged, text

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {"logs": {"type": "dict", "required": True}, "problems": {"type": "dict", "default": {}}}
        )
        logs, problems = plain(args["logs"]), plain(args["problems"])
        if not self._task.no_log and is_wanted_on_screen():
            display.display(f"\n{text(logs, problems)}\n")
        result.update(changed=False, lines=merged(logs))
        return result
