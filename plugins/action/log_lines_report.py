# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the logs of all hosts as one. The documentation stands in plugins/modules/log_lines_report.py."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, Report
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.log_lines import merged, text


class ActionModule(Report):
    OPTIONS: t.ClassVar[dict[str, Facts]] = {
        "logs": {"type": "dict", "required": True},
        "problems": {"type": "dict", "default": {}},
    }

    def report(self, asked: Facts) -> tuple[str, Facts]:
        return text(asked["logs"], asked["problems"]), {"lines": merged(asked["logs"])}
