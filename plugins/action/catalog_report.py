# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the catalog as a table, on the controller. The documentation stands in plugins/modules/catalog_report.py."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import terminal as screen
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, Report
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.table import wrapped
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.catalog_table import MARKS, terminal


class ActionModule(Report):
    OPTIONS: t.ClassVar[dict[str, Facts]] = {
        "models": {"type": "list", "elements": "dict", "required": True},
        "plans": {"type": "dict", "default": {}},
        "images": {"type": "dict", "default": {}},
        "title": {"type": "str", "default": ""},
    }

    def report(self, asked: Facts) -> tuple[str, Facts]:
        size = screen.size()
        table = terminal(asked["models"], asked["plans"], asked["images"], size.columns if size else None)
        title, marks = (wrapped(text, size.columns if size else None, indent=0) for text in (asked["title"], MARKS))
        return "\n\n".join([*([title] if title else []), table, marks]), {"table": table}
