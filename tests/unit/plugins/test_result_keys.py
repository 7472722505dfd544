# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No result takes a name that ansible-core gives a meaning: 2.21 makes a bool of `skipped`, and drops it if false."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

MODULES = sorted((Path(__file__).parents[3] / "plugins" / "modules").glob("*.py"))
OWN = {"skipped", "unreachable", "exception", "warnings", "deprecations", "results", "invocation", "ignore_errors"}


def returned(path: Path) -> set[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "RETURN":
            return set(yaml.safe_load(ast.literal_eval(node.value)) or {})
    return set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_key_of_ansible_itself(path: Path) -> None:
    assert not returned(path) & OWN
