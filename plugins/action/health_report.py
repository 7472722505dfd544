# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows one table of all hosts, on the controller. The documentation stands in plugins/modules/health_report.py."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import terminal
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, QueriedReport
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet import build, exit_code
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet_table import render


class ActionModule(QueriedReport):
    QUERY = "health_query"
    ROWS = "hosts"
    OPTIONS: t.ClassVar[dict[str, Facts]] = {
        "hosts": {"type": "list", "elements": "str", "required": True},
        "health": {"type": "dict", "required": True},
        "spark": {"type": "dict", "default": {}},
        "wanted": {"type": "dict", "default": {}},
        "faults": {"type": "dict", "default": {}},
    }

    def report(self, asked: Facts) -> tuple[str, Facts]:
        hosts, health, spark, wanted, faults = (asked[name] for name in self.OPTIONS)
        report = build(hosts, health, spark, wanted, time.time(), faults)
        found = {"report": report, "unhealthy": report["unhealthy"], "exit_code": exit_code(report["hosts"])}
        table = render(report, terminal.width(), wraps=terminal.size() is not None)
        return table, {"table": table, **found}
