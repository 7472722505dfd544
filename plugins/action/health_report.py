# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows one table of all hosts, on the controller. The documentation stands in plugins/modules/health_report.py."""

from __future__ import annotations

import json
import time
import typing as t

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import output_file
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet import build
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet_table import render
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.query import QueryError, apply, check, whole

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "hosts": {"type": "list", "elements": "str", "required": True},
                "health": {"type": "dict", "required": True},
                "spark": {"type": "dict", "default": {}},
                "wanted": {"type": "dict", "default": {}},
                "faults": {"type": "dict", "default": {}},
                "path": {"type": "str", "default": ""},
                "query": {"type": "str", "default": ""},
            }
        )
        hosts, health, spark, wanted, faults = (
            plain(args[name]) for name in ("hosts", "health", "spark", "wanted", "faults")
        )
        query = whole(args["query"], context.CLIARGS.get("extra_vars") or ())
        report = build(hosts, health, spark, wanted, time.time(), faults)
        table = render(report)
        text = table
        if query:
            try:
                check(query)
                selected = apply(query, report["hosts"]) if hosts else None
            except QueryError as error:
                result.update(failed=True, msg=str(error))
                return result
            result["selected"] = selected
            text = json.dumps(selected, indent=2, ensure_ascii=False)
        if hosts and not self._task.no_log and is_wanted_on_screen():
            display.display(f"\n{text}\n")
        if args["path"]:
            try:
                if hosts and not self._task.check_mode:
                    output_file.write(args["path"], json.dumps(result.get("selected", report), indent=2) + "\n")
                elif not hosts:
                    output_file.check(args["path"])
            except OSError as error:
                problem = error.strerror or str(error)
                result.update(failed=True, msg=f"The report cannot be written to {args['path']}: {problem}")
                return result
        # No change: what is measured anew differs each time, and nothing on a host did.
        result.update(changed=False, table=table, report=report, unhealthy=report["unhealthy"])
        return result
