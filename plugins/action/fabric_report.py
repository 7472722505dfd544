# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what the links of a fabric can do. The documentation stands in plugins/modules/fabric_report.py."""

from __future__ import annotations

import typing as t

from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import terminal
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, Report
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report import fabric

display = Display()


class ActionModule(Report):
    OPTIONS: t.ClassVar[dict[str, Facts]] = {
        "checks": {"type": "list", "elements": "dict", "required": True},
        "results": {"type": "list", "elements": "dict", "required": True},
        "notices": {"type": "list", "elements": "str", "default": []},
    }

    def report(self, asked: Facts) -> tuple[str, Facts]:
        checks, results = asked["checks"], asked["results"]
        slow, problems = fabric.slow(checks, results), fabric.problems(checks, results)
        for text in [*asked["notices"], *slow]:
            display.warning(text)
        failure: Facts = {"failed": True, "msg": "\n".join(problems)} if problems else {}
        return fabric.table(checks, results, terminal.width()), {"problems": problems, "slow": slow, **failure}
