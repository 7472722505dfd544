# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that runs in the process of the tests leaves nothing of its own there."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import types
from pathlib import Path

import pytest
from ansible.plugins import action

from support.paths import SUPPORT


def test_umask_folder_and_handlers_are_afterwards_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, name in (
        (action, "modify_module"),
        (action.ActionBase, "_configure_module"),
        (action.ActionBase, "_low_level_execute_command"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # the callback replaces them
    place = SUPPORT / "callbacks" / "modules_in_tasks.py"
    spec = importlib.util.spec_from_file_location("modules_in_tasks", place)
    assert spec and spec.loader
    callback = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(callback)

    def state() -> tuple[int, str, object]:
        mask = os.umask(0o022)
        os.umask(mask)
        return mask, os.getcwd(), signal.getsignal(signal.SIGTERM)

    def main() -> None:
        os.umask(0o007)
        os.chdir(tmp_path)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("{}")
        sys.exit(3)

    module = types.ModuleType("a_module")
    vars(module)["main"] = main
    monkeypatch.setitem(sys.modules, "a_module", module)
    before = state()
    vars(callback)["_next"] = ("a_module", {}, {})
    assert callback._run(None, "", in_data=callback.MARK) == {"rc": 3, "stdout": "{}\n", "stderr": ""}
    after = state()
    os.umask(before[0])
    os.chdir(before[1])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert after == before
