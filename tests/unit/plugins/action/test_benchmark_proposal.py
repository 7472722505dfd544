# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which file the action writes. What is proposed: test__benchmark_propose.py."""

from __future__ import annotations

import typing as t
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.action import benchmark_proposal
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._action import report


def record(profile: str, rate: float) -> dict[str, t.Any]:
    result = {"output_throughput": rate, "median_ttft_ms": 9, "median_tpot_ms": 9}
    cell = {"concurrency": 8, "repetitions": [{"result": result}]}
    return {"server": {"profile": profile, "model": "m", "vllm_version": "0.32"}, "cells": [cell]}


@pytest.mark.parametrize(("current", "written"), [("latency", True), ("mine", False)])
def test_a_file_is_written_if_another_profile_is_better(
    current: str, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(report, "is_wanted_on_screen", lambda: True)
    monkeypatch.setattr(report.display, "display", shown.append)
    args = {
        "host": "spark01",
        "records": [record("latency", 100), record("mine", 200)],
        "failed": {"broken": "it does not fit"},
        "profiles": {"mine": {"args": {"max_num_seqs": 8}}},
        "current": current,
        "folder": str(tmp_path),
    }
    (tmp_path / "spark01").mkdir()
    task = MagicMock(check_mode=False, no_log=False, async_val=0, args=args)
    action = benchmark_proposal.ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    result = action.run(task_vars={})
    assert (result["profile"], result["changed"]) == ("mine", False)
    assert "not measured: it does not fit" in shown[0]
    path = tmp_path / "spark01" / "tuned.yml"
    assert path.exists() is written
    if written:
        assert yaml.safe_load(path.read_text())["vllm_profiles"] == {"tuned": {"args": {"max_num_seqs": 8}}}
        assert f"written: {path}" in shown[0]
