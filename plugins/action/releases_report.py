# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the releases of all hosts in one table. The documentation stands in plugins/modules/releases_report.py."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.releases import rows, table

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {"releases": {"type": "dict", "required": True}, "problems": {"type": "dict", "default": {}}}
        )
        releases, problems = plain(args["releases"]), plain(args["problems"])
        text = table(releases, problems)
        if not self._task.no_log and is_wanted_on_screen():
            display.display(f"\n{text}\n")
        result.update(changed=False, table=text, releases={host: rows(read) for host, read in releases.items()})
        return result
