# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proposes the best of the measured profiles, on the controller. See plugins/modules/benchmark_proposal.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark import store
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark.propose import (
    NAME,
    Target,
    profile_file,
    propose,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.output_file import write
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.screen import is_wanted_on_screen

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "host": {"type": "str", "required": True},
                "records": {"type": "list", "elements": "dict", "required": True},
                "failed": {"type": "dict", "default": {}},
                "profiles": {"type": "dict", "default": {}},
                "current": {"type": "str", "required": True},
                "ttft_ms": {"type": "float", "default": 0},
                "tpot_ms": {"type": "float", "default": 0},
                "folder": {"type": "str", "required": True},
            }
        )
        args = plain(args)
        target = Target(args["ttft_ms"], args["tpot_ms"])
        profiles = Catalog().profiles(args["profiles"])
        made = propose(args["records"], args["failed"], profiles, args["current"], target)
        path = None
        if made.profile and made.is_new:
            path = str(store.place(args["folder"], args["host"]) / f"{NAME}.yml")
            server, names = args["records"][0]["server"], ", ".join(one["server"]["profile"] for one in args["records"])
            head = f"{args['host']}, {server.get('model')}, vLLM {server.get('vllm_version')}: measured {names}"
            try:
                write(path, profile_file(made, head))
            except OSError as error:
                raise AnsibleActionFail(f"benchmark_folder: {path}: {error.strerror or error}") from None
        if not self._task.no_log and is_wanted_on_screen():
            end = f"\nwritten: {path}; put it into the inventory of the host, and deploy" if path else ""
            display.display(f"\n{args['host']} | profiles\n{made.table}\n  {made.reason}{end}\n")
        result.update(changed=False, profile=made.profile, reason=made.reason, args=made.args, path=path)
        return result
