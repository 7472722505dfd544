# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of the code: what its tables name is there."""

from __future__ import annotations

import re
from pathlib import Path

from support.paths import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
TASKS = ROOT / "roles/vllm/tasks"
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def place(name: str) -> Path:
    return (ROOT if name.partition("/")[0] in FOLDERS else TASKS) / name


def test_each_place_of_the_map_is_there() -> None:
    rows = PAGE.partition("## Where to look in the code")[2]
    named = re.findall(r"`([\w/]+(?:\.(?:yml|py)|/))`", rows)
    assert len(named) > 20
    assert [name for name in named if not place(name).exists()] == []


def test_each_function_of_the_map_is_in_its_file() -> None:
    named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", PAGE)
    assert named
    for function, file in named:
        assert f"def {function}(" in place(file).read_text(encoding="utf-8"), f"{function} in {file}"


def test_each_step_of_a_deployment_is_there() -> None:
    steps = PAGE.partition("| step | task files |")[2].partition("\n\n")[0]
    named = re.findall(r"`((?:deploy|recover|report)/\w*(?:\.yml)?)`", steps)
    assert len(named) > 15
    assert [name for name in named if not (TASKS / name).exists()] == []
