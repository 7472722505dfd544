# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arrows between the sub-packages of module_utils and plugin_utils go one way: down."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
COLLECTION = "ansible_collections.dgxspark.vllm.plugins."
# Each may import from those of lower floors, and from its own sub-package.
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "module_utils": (("_causes", "_hf_cache", "_host"), ("_deploy", "_vllm"), ("_hf_transfer",)),
    "plugin_utils": (("_common",), ("_catalog",), ("_plan",), ("_action", "_report", "_validate")),
}


class Arrow(t.NamedTuple):
    file: str
    utils: str
    package: str
    to_utils: str
    to_package: str


def arrows(utils: str) -> list[Arrow]:
    found = []
    for path in sorted((PLUGINS / utils).rglob("*.py")):
        inside = path.relative_to(PLUGINS).parts  # plugin_utils, _plan, share.py
        if len(inside) < 3:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            module = (node.module or "").split(".") if node.module else []
            if node.level:
                target = [*inside[: len(inside) - node.level], *module]
            elif (node.module or "").startswith(COLLECTION):
                target = (node.module or "").removeprefix(COLLECTION).split(".")
            else:
                continue
            if len(target) == 1:  # from .. import _plan
                found += [Arrow("/".join(inside), inside[0], inside[1], target[0], name.name) for name in node.names]
            else:
                found.append(Arrow("/".join(inside), inside[0], inside[1], target[0], target[1]))
    return found


def floor(utils: str, package: str) -> int:
    return next(number for number, packages in enumerate(FLOORS[utils]) if package in packages)


@pytest.mark.parametrize("utils", FLOORS)
def test_every_sub_package_has_its_floor(utils: str) -> None:
    there = {path.parent.name for path in (PLUGINS / utils).rglob("*.py") if path.parent.name != utils}
    assert there == {package for packages in FLOORS[utils] for package in packages}
    assert [path.name for path in (PLUGINS / utils).glob("*.py") if path.name != "__init__.py"] == []


@pytest.mark.parametrize("utils", FLOORS)
def test_no_arrow_goes_up_or_sideways(utils: str) -> None:
    found = arrows(utils)
    assert found
    within = [arrow for arrow in found if arrow.to_utils == utils and arrow.to_package != arrow.package]
    assert [arrow for arrow in within if floor(utils, arrow.to_package) >= floor(utils, arrow.package)] == []


def test_what_runs_on_the_host_knows_nothing_of_the_controller() -> None:
    assert [arrow for arrow in arrows("module_utils") if arrow.to_utils != "module_utils"] == []


def test_no_circle_within_a_sub_package() -> None:
    below: dict[str, set[str]] = {}
    for utils in FLOORS:
        for path in (PLUGINS / utils).rglob("*.py"):
            names = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.level == 1:
                    names |= {node.module.split(".")[0]} if node.module else {name.name for name in node.names}
            below[f"{utils}/{path.parent.name}/{path.stem}"] = {f"{utils}/{path.parent.name}/{name}" for name in names}
    done: set[str] = set()
    while rest := {name: needs - done for name, needs in below.items() if name not in done}:
        free = {name for name, needs in rest.items() if not needs}
        assert free, f"a circle among {sorted(rest)}"
        done |= free
