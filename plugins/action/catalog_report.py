# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the catalog as a table, on the controller.

The documentation stands in plugins/modules/catalog_report.py.
"""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.catalog_table import MARKS, terminal

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "models": {"type": "list", "elements": "dict", "required": True},
                "plans": {"type": "dict", "default": {}},
                "images": {"type": "dict", "default": {}},
                "title": {"type": "str", "default": ""},
            }
        )
        table = terminal(plain(args["models"]), plain(args["plans"]), plain(args["images"]))
        if not self._task.no_log and is_wanted_on_screen():
            title = f"{args['title']}\n\n" if args["title"] else ""
            display.display(f"\n{title}{table}\n\n{MARKS}\n")
        result.update(changed=False, table=table)
        return result
