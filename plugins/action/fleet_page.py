# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the HTML page about all hosts. The documentation stands in plugins/modules/fleet_page.py."""

from __future__ import annotations

import re
import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark import store, table
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import output_file
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet import build
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._report.fleet_page import page

BY_HOST = ("spark", "wanted", "faults", "releases", "caches", "problems")


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "hosts": {"type": "list", "elements": "str", "required": True},
                "health": {"type": "dict", "required": True},
                **{name: {"type": "dict", "default": {}} for name in BY_HOST},
                "path": {"type": "str", "required": True},
                "mode": {"type": "str", "default": "0600"},
                "benchmarks": {"type": "str"},
            }
        )
        path, mode = args["path"], file_mode(args["mode"])
        if not path:
            raise AnsibleActionFail("path: it is empty; use the name of a file, such as report.html")
        hosts, health = plain(args["hosts"]), plain(args["health"])
        spark, wanted, faults, releases, caches, problems = (plain(args[name]) for name in BY_HOST)
        size = None
        try:
            target = output_file.check(path)
            report = build(hosts, health, spark, wanted, time.time(), faults)
            if hosts:
                text = page(report, releases, caches, problems, plots(args["benchmarks"], hosts))
                size = len(text.encode())
                if not self._task.check_mode:
                    output_file.write(path, text, mode)
        except OSError as error:
            raise AnsibleActionFail(f"The page cannot be written to {path}: {error.strerror or error}") from None
        result.update(changed=False, path=target, bytes=size, unhealthy=report["unhealthy"])
        return result


def plots(folder: str | None, hosts: list[str]) -> list[tuple[str, str, str]]:
    """Host, caption and picture of the latest benchmark of each host that has one."""
    found = [(host, store.newest_plot(store.place(folder, host))) for host in hosts] if folder else []
    return [(host, table.caption(its[0]), its[1]) for host, its in found if its]


def file_mode(text: str) -> int:
    if not re.fullmatch(r"0[0-7]{3}", text):
        raise AnsibleActionFail(f'mode: {text!r} is not allowed; use four octal digits in quotes, such as "0600"')
    return int(text, 8)
