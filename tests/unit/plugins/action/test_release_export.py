# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action writes, and when. What is in the files: test__common_release_export.py."""

from __future__ import annotations

import base64
import stat
import typing as t
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.dgxspark.vllm.plugins.action.release_export import ActionModule

FILE = "files/0123456789abcdef"
MOUNT = {"type": "bind", "source": f"/opt/vllm/releases/1/{FILE}", "target": "/opt/files/x"}
COMPOSE = yaml.safe_dump(
    {"services": {"vllm-x": {"image": "x:1", "command": ["vllm", "serve", "m"], "volumes": [MOUNT]}}}
)


def run(path: Path, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    args = {"compose": COMPOSE, "facts": {"release": "1"}, "home": "/opt/vllm", "path": str(path)}
    args["files"] = {FILE: base64.b64encode(b"\x00binary").decode()}
    task = MagicMock(check_mode=check, async_val=0, args={**args, **options})
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    return action.run(task_vars={})


def test_the_folder_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "exports" / "vllm-1"
    assert run(folder)["changed"] is True
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "compose.yaml", "files", "release.json"]
    assert (folder / FILE).read_bytes() == b"\x00binary"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert run(folder)["changed"] is False
    (folder / "compose.yaml").write_text("edited")
    assert run(folder)["changed"] is True


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "x", check=True)["changed"] is True
    assert not (tmp_path / "x").exists()


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=f"cannot be exported: {FILE} is not in its folder"):
        run(tmp_path / "x", files={})
    (tmp_path / "file").write_text("")
    with pytest.raises(AnsibleActionFail, match="cannot be written to .*/file/x: Not a directory"):
        run(tmp_path / "file" / "x")
