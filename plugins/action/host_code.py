# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads files of this collection for the module of the same name, and sends those that the host does not have."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_code import digest
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.host_code import collect

MODULE = "dgxspark.vllm.host_code"


class ActionModule(ActionBase):
    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        paths = self._task.args.get("paths") or []
        try:
            contents = collect(paths if isinstance(paths, list) else [paths])
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        files = {path: digest(text.encode()) for path, text in contents.items()}
        answer = self._ask(task_vars or {}, files=files)
        if answer.pop("incomplete", False):
            answer = self._ask(task_vars or {}, files=files, contents=contents)
        return {**result, **answer}

    def _ask(self, task_vars: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
        arguments = {**self._task.args, **more}
        answer: dict[str, t.Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return answer
