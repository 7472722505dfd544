# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of a role as the module host_code lays it out on a host."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_code import Store
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.host_code import collect

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "ansible_collections.dgxspark.vllm"


def code(role: str, variable: str) -> dict[str, str]:
    """Files by path, as the variable of the role lists them."""
    variables = yaml.safe_load((ROOT / "roles" / role / "vars" / "main.yml").read_text())
    return collect(variables[variable])


def installed(contents: dict[str, str], folder: Path) -> list[str]:
    """The command that runs a program of it, by its name."""
    Store(str(folder / "lib")).install("user", contents)
    return [sys.executable, "-I", "-S", "-B", f"{folder}/lib/user"]


def lacking(contents: dict[str, str]) -> set[str]:
    """Modules of the collection that a file imports, and that are not among the files."""
    have = {path.removesuffix(".py").replace("/", ".") for path in contents}
    found = set()
    for path, text in contents.items():
        package = path.split("/")[:-1]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                start = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*start, *filter(None, [node.module])])
                if base.startswith(PACKAGE) and base not in have:
                    found |= {f"{base}.{alias.name}" for alias in node.names} - have
    return found
