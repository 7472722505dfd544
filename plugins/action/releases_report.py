# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the releases of all hosts in one table. The documentation stands in plugins/modules/releases_report.py."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import terminal
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, Report
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.releases import rows, table


class ActionModule(Report):
    OPTIONS: t.ClassVar[dict[str, Facts]] = {
        "releases": {"type": "dict", "required": True},
        "problems": {"type": "dict", "default": {}},
    }

    def report(self, asked: Facts) -> tuple[str, Facts]:
        text = table(asked["releases"], asked["problems"], terminal.width(), wraps=terminal.size() is not None)
        return text, {"table": text, "releases": {host: rows(read) for host, read in asked["releases"].items()}}
