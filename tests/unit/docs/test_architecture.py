# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of the code: what its tables name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


def tables(text: str, *heads: str) -> list[str]:
    """What the first column of the tables with such a head names."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _line, *rows = table.splitlines()
        if head.split("|")[1].strip() in heads:
            found += [name for row in rows for name in re.findall(r"`([\w/]+(?:\.yml|/))`", row.split("|")[1])]
    return found


@pytest.mark.parametrize("role", sorted(path.name for path in (ROOT / "roles").iterdir()))
def test_the_page_of_a_role_names_its_task_files(role: str) -> None:
    page = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    tasks = ROOT / "roles" / role / "tasks"
    entries, files = tables(page, "`tasks_from`", "entry point"), tables(page, "task file", "file in `tasks/`")
    assert [name for name in entries + files if not (tasks / name).exists()] == []
    folders = tuple(name for name in files if name.endswith("/"))
    every = {str(path.relative_to(tasks)) for path in tasks.rglob("*.yml")} - {"main.yml"}
    if files:  # a role of few files tells in words what they do
        assert sorted(name for name in every - {*entries, *files} if not name.startswith(folders)) == []
