# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the checks before a deployment. The documentation stands in plugins/modules/preflight_report.py."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import terminal
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, QueriedReport
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.preflight import build, render


class ActionModule(QueriedReport):
    QUERY = "preflight_query"
    ROWS = "checks"
    OPTIONS: t.ClassVar[dict[str, Facts]] = {
        "hosts": {"type": "dict", "required": True},
    }

    def report(self, asked: Facts) -> tuple[str, Facts]:
        report = build(asked["hosts"], time.time())
        text = render(report, list(asked["hosts"]), terminal.width())
        return text, {"report": report, "failed_hosts": report["failed"]}
