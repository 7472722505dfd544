# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proposes the best of the measured profiles, on the controller. See plugins/modules/benchmark_proposal.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action.report import Facts, Report
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark import store
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._benchmark.propose import (
    NAME,
    Target,
    profile_file,
    propose,
)
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.output_file import write


class ActionModule(Report):
    OPTIONS: t.ClassVar[dict[str, Facts]] = {
        "host": {"type": "str", "required": True},
        "records": {"type": "list", "elements": "dict", "required": True},
        "failed": {"type": "dict", "default": {}},
        "profiles": {"type": "dict", "default": {}},
        "current": {"type": "str", "required": True},
        "ttft_ms": {"type": "float", "default": 0},
        "tpot_ms": {"type": "float", "default": 0},
        "folder": {"type": "str", "required": True},
    }

    def report(self, asked: Facts) -> tuple[str, Facts]:
        host, records = asked["host"], asked["records"]
        target = Target(asked["ttft_ms"], asked["tpot_ms"])
        profiles = Catalog().profiles(asked["profiles"])
        made = propose(records, asked["failed"], profiles, asked["current"], target)
        path = None
        if made.profile and made.is_new:
            path = str(store.place(asked["folder"], host) / f"{NAME}.yml")
            server, names = records[0]["server"], ", ".join(one["server"]["profile"] for one in records)
            head = f"{host}, {server.get('model')}, vLLM {server.get('vllm_version')}: measured {names}"
            try:
                write(path, profile_file(made, head))
            except OSError as error:
                raise AnsibleActionFail(f"benchmark_folder: {path}: {error.strerror or error}") from None
        end = f"\nwritten: {path}; put it into the inventory of the host, and deploy" if path else ""
        found = {"profile": made.profile, "reason": made.reason, "args": made.args, "path": path}
        return f"{host} | profiles\n{made.table}\n  {made.reason}{end}", found
