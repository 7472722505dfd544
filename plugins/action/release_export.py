# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a release to a folder on the controller. The documentation stands in plugins/modules/release_export.py."""

from __future__ import annotations

import base64
import os
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common import output_file
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.plain import plain
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.release_export import ExportError, export


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, args = self.validate_argument_spec(
            {
                "compose": {"type": "str", "required": True},
                "facts": {"type": "dict", "required": True},
                "image": {"type": "dict", "default": {}},
                "home": {"type": "path", "required": True},
                "commits": {"type": "dict", "default": {}},
                "files": {"type": "dict", "default": {}},
                "path": {"type": "path", "required": True},
            }
        )
        args = plain(args)
        folder = Path(args["path"]).absolute()
        try:
            made = export(args["compose"], args["facts"], args["image"], args["home"], args["commits"])
        except ExportError as error:
            raise AnsibleActionFail(f"The release cannot be exported: {error}") from None
        missing = [name for name in made.files if name not in args["files"]]
        if missing:
            raise AnsibleActionFail(f"The release cannot be exported: {', '.join(missing)} is not in its folder")
        contents: dict[str, str | bytes] = dict(made.texts)
        contents |= {name: base64.b64decode(args["files"][name]) for name in made.files}
        try:
            changed = [name for name, content in contents.items() if _differs(folder / name, content)]
            for name in changed if not self._task.check_mode else []:
                _write(folder, name, contents[name])
        except OSError as error:
            raise AnsibleActionFail(f"The release cannot be written to {folder}: {error.strerror or error}") from None
        result.update(changed=bool(changed), path=str(folder), secrets=made.secrets)
        return result


def _differs(path: Path, content: str | bytes) -> bool:
    try:
        return path.read_bytes() != (content.encode() if isinstance(content, str) else content)
    except FileNotFoundError:
        return True


def _write(folder: Path, name: str, content: str | bytes) -> None:
    """Files of the release may hold a secret: only their owner may enter the folder. The container may be any user."""
    path = folder / name
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    output_file.write(str(path), content, 0o644)
