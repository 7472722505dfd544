# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-doc` has a whole page of every plugin. ansible-test looks at the pages of modules only."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT

KINDS = ("callback", "filter", "inventory", "lookup", "modules", "test")
PLUGINS = [path for kind in KINDS for path in sorted((ROOT / "plugins" / kind).glob("[!_]*.py"))]
# Nobody calls them by name with arguments, and they return nothing.
WITHOUT_CALL = ("callback", "inventory")


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def page(path: Path) -> dict[str, t.Any]:
    """DOCUMENTATION, EXAMPLES and RETURN as they stand in the file."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
                found[name] = yaml.safe_load(ast.literal_eval(node.value)) or {}
    return found


def described(entries: t.Mapping[str, t.Any], inner: str, *fields: str) -> None:
    for name, entry in entries.items():
        for field in ("description", *fields):
            assert entry.get(field), f"{name} has no {field}"
        described(entry.get(inner) or {}, inner, "type")


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_a_plugin_has_a_whole_page(path: Path) -> None:
    found = page(path)
    head = found["DOCUMENTATION"]
    assert (head.get("module") or head.get("name")) == path.stem
    for field in ("short_description", "description", "version_added", "author"):
        assert head.get(field), field
    assert not head["short_description"].endswith(".")
    described(head.get("options") or {}, "suboptions", "type")
    if path.parent.name not in WITHOUT_CALL:
        assert f"dgxspark.vllm.{path.stem}" in str(found["EXAMPLES"])
        described(found["RETURN"], "contains", "type")


def test_an_action_plugin_has_the_page_of_its_module() -> None:
    actions, modules = (
        {path.stem for path in (ROOT / "plugins" / kind).glob("[!_]*.py")} for kind in ("action", "modules")
    )
    assert actions <= modules


def test_the_action_group_has_every_module() -> None:
    """For `module_defaults` with group/dgxspark.vllm.spark."""
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["spark"]
    assert group == sorted(path.stem for path in PLUGINS if path.parent.name == "modules")
