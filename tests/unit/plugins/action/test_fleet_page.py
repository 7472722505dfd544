# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the action writes the page, with which mode, and what it refuses. What is on it: test__report_fleet_page.py."""

from __future__ import annotations

import base64
import json
import stat
import typing as t
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.dgxspark.vllm.plugins.action.fleet_page import ActionModule, file_mode

from support.fleet import sixteen


def run(path: Path | str, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    fleet = sixteen()
    facts = {name: getattr(fleet, name) for name in ("health", "spark", "wanted", "releases", "caches", "problems")}
    task = MagicMock(check_mode=check, async_val=0, args={"hosts": fleet.hosts, "path": str(path), **facts, **options})
    action = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
    return action.run(task_vars={})


def test_the_page_is_written(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    result = run(path)
    assert (result["path"], result["bytes"]) == (str(path), path.stat().st_size)
    assert result["unhealthy"] == ["spark02", "spark03", "spark04", "spark09", "spark12"]
    assert result["changed"] is False
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    run(path, mode="0644")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("options", [{"check": True}, {"hosts": []}])
def test_the_page_is_not_written(options: dict[str, t.Any], tmp_path: Path) -> None:
    run(tmp_path / "report.html", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "path: it is empty; use the name of a file, such as report.html"),
        ("{}/no/report.html", "cannot be written to {}/no/report.html: the folder {}/no does not exist"),
        ("{}", "cannot be written to {}: it is no regular file"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"hosts": []}])  # the second one is before any host was asked
def test_a_path_that_is_wrong(path: str, said: str, options: dict[str, t.Any], tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail) as refused:
        run(path.replace("{}", str(tmp_path)), **options)
    assert said.replace("{}", str(tmp_path)) in str(refused.value)


def test_a_mode_that_is_none() -> None:
    assert (file_mode("0600"), file_mode("0644")) == (0o600, 0o644)
    for wrong in ("rw", "600", "420", "00600", "0999"):
        with pytest.raises(AnsibleActionFail, match="use four octal digits in quotes"):
            file_mode(wrong)


def test_the_latest_benchmark_of_a_host_is_on_it(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks" / "spark02"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        record = {
            "format": 1,
            "time": f"2026-11-2{number}T18:00:00Z",
            "mode": "quick",
            "server": {"model": "Qwen/Qwen3-8B-FP8"},
            "cells": [{"name": "c1", "repetitions": [{"result": {"output_throughput": 20.0 + number}}]}],
        }
        name = f"2026-11-2{number}T18-00-00Z-quick"
        (folder / f"{name}.json").write_text(json.dumps(record))
        if number < 3:  # the last one had no matplotlib
            (folder / f"{name}.svg").write_text(f"<svg><title>{number}</title></svg>")
    run(tmp_path / "report.html", benchmarks=str(folder.parent))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<figcaption>spark02: 2026-11-22, mode quick, Qwen/Qwen3-8B-FP8; tokens/s: c1 22.0</figcaption>" in page
    assert page.count("<figure>") == 1
    assert base64.b64encode(b"<svg><title>2</title></svg>").decode() in page
