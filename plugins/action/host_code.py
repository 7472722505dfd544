# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads files of this collection for the module of the same name, and sends those that the host does not have."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_code import digest

MODULE = "dgxspark.vllm.host_code"
COLLECTION = Path(__file__).resolve().parents[2]
ON_THE_HOST = Path("ansible_collections/dgxspark/vllm")
MAIN = COLLECTION / "plugins" / "module_utils" / "_deploy" / "host_main.py"


class ActionModule(ActionBase):
    _requires_connection = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        paths = self._task.args.get("paths") or []
        contents = collect(paths if isinstance(paths, list) else [paths])
        files = {path: digest(text.encode()) for path, text in contents.items()}
        answer = self._ask(task_vars or {}, files=files)
        if answer.pop("incomplete", False):
            answer = self._ask(task_vars or {}, files=files, contents=contents)
        return {**result, **answer}

    def _ask(self, task_vars: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
        arguments = {**self._task.args, **more}
        answer: dict[str, t.Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        return answer


def collect(paths: t.Sequence[str]) -> dict[str, str]:
    """Python files by their path on the host, with the __init__.py of the packages that they are in."""
    found: dict[str, str] = {}
    for path in paths:
        start = (COLLECTION / path).resolve()
        if COLLECTION not in start.parents or not start.exists():
            raise AnsibleActionFail(f"paths: {path} is not a file or a folder of this collection")
        for file in sorted(start.rglob("*.py")) if start.is_dir() else [start]:
            packages = [folder / "__init__.py" for folder in file.parents if COLLECTION in folder.parents]
            for each in (file, *filter(Path.exists, packages)):
                found[str(ON_THE_HOST / each.relative_to(COLLECTION))] = each.read_text(encoding="utf-8")
    return {**found, "__main__.py": MAIN.read_text(encoding="utf-8")} if found else {}
