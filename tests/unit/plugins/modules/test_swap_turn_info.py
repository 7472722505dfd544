# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with a script in the place of systemctl."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import swap_turn_info

STATES = r"printf 'Id=a.service\nActiveState=inactive\n\nId=b.service\nActiveState=active\n'"
FILES = "echo a.service enabled enabled"  # that of b is not there; the exit code says so


def run(
    show: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, t.Any]:
    systemctl = folder / "systemctl"
    systemctl.write_text(f"#!/bin/sh\ncase $1 in show) {show} ;; list-unit-files) {FILES}; exit 1 ;; esac\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    options = {"unit": "a.service", "others": ["b.service"], "_ansible_check_mode": True}
    with patch_module_args(options), pytest.raises(SystemExit):
        swap_turn_info.main()
    result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_runs_has_the_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(STATES, tmp_path, capsys, monkeypatch)
    assert (result["unit"], result["running"], result["enabled"]) == ("b.service", ["b.service"], ["a.service"])


def test_a_systemd_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("echo Failed to connect to bus >&2; exit 1", tmp_path, capsys, monkeypatch)
    assert result["msg"] == "systemd does not tell the state of a.service: Failed to connect to bus"
