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
    "module_utils": (("_outside",), ("_causes", "_hf_cache", "_host"), ("_deploy", "_vllm"), ("_hf_transfer",)),
    "plugin_utils": (("_common",), ("_catalog",), ("_plan",), ("_action", "_benchmark", "_report", "_validate")),
}


class Arrow(t.NamedTuple):
    source: str  # plugin_utils._plan.share
    target: str

    @property
    def packages(self) -> tuple[str, str]:
        return package_of(self.source), package_of(self.target)


def package_of(module: str) -> str:
    """plugin_utils._plan.share -> plugin_utils._plan"""
    return ".".join(module.split(".")[:2])


def name_of(path: Path) -> str:
    parts = path.relative_to(PLUGINS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files(utils: str) -> list[Path]:
    return sorted((PLUGINS / utils).rglob("*.py"))


def imports(tree: ast.AST) -> t.Iterator[ast.ImportFrom]:
    """Those that happen: what is under TYPE_CHECKING is for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield node
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imports(node)


def arrows(utils: str) -> list[Arrow]:
    known = {name_of(path) for either in FLOORS for path in files(either)}
    found = []
    for path in files(utils):
        parts = path.relative_to(PLUGINS).parts
        for node in imports(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module or ""
            if node.level:
                module = ".".join([*parts[: len(parts) - node.level], *([module] if module else [])])
            elif module.startswith(COLLECTION):
                module = module.removeprefix(COLLECTION)
            else:
                continue
            # from .. import _plan: what is imported may be a module itself
            targets = {f"{module}.{name.name}" for name in node.names} & known or {module}
            assert targets <= known, f"{path}: {module}"
            found += [Arrow(name_of(path), target) for target in targets]
    return found


def floor(utils: str, package: str) -> int:
    name = package.removeprefix(f"{utils}.")
    return next(number for number, packages in enumerate(FLOORS[utils]) if name in packages)


@pytest.mark.parametrize("utils", FLOORS)
def test_every_sub_package_has_its_floor(utils: str) -> None:
    there = {path.relative_to(PLUGINS / utils).parts[0] for path in files(utils)} - {"__init__.py"}
    assert there == {package for packages in FLOORS[utils] for package in packages}


@pytest.mark.parametrize("utils", FLOORS)
def test_no_arrow_goes_up_or_sideways(utils: str) -> None:
    within = [arrow for arrow in arrows(utils) if all(name.startswith(f"{utils}.") for name in arrow.packages)]
    assert within
    across = [arrow for arrow in within if arrow.packages[0] != arrow.packages[1]]
    assert [arrow for arrow in across if floor(utils, arrow.packages[1]) >= floor(utils, arrow.packages[0])] == []


def test_what_runs_on_the_host_knows_nothing_of_the_controller() -> None:
    assert [arrow for arrow in arrows("module_utils") if not arrow.target.startswith("module_utils.")] == []


def test_no_circle() -> None:
    below: dict[str, set[str]] = {name_of(path): set() for utils in FLOORS for path in files(utils)}
    for utils in FLOORS:
        for arrow in arrows(utils):
            below[arrow.source].add(arrow.target)
    done: set[str] = set()
    while rest := {name: needs - done for name, needs in below.items() if name not in done}:
        free = {name for name, needs in rest.items() if not needs}
        assert free, f"a circle among {sorted(rest)}"
        done |= free
