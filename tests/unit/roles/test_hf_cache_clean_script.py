# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daily clean of the role hf_cache: its files are those of the module, all of them, and enough."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "hf_cache"
UTILS = ROOT / "plugins" / "module_utils"
VARS = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())


def imported(file: Path) -> set[str]:
    """Files of module_utils that it imports, and those that these import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible_collections.dgxspark.vllm"):
            last = str(node.module).rpartition(".")[2]
            found |= {f"{last}.py"} if last.startswith("_") else {f"{alias.name}.py" for alias in node.names}
    return found.union(*(imported(UTILS / name) for name in found))


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """As the role lays it out on the host."""
    package = tmp_path / "lib" / VARS["__hf_cache_clean_package"]
    package.mkdir(parents=True)
    for name in VARS["__hf_cache_clean_files"]:
        shutil.copy(UTILS / name, package)
    return Path(shutil.copy(ROLE / "files" / "clean.py", tmp_path / "lib"))


def clean(script: Path, path: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", script, path], capture_output=True, check=False, text=True, timeout=60
    )


def test_the_role_copies_what_the_script_imports() -> None:
    assert imported(ROLE / "files" / "clean.py") == set(VARS["__hf_cache_clean_files"])


def test_it_runs_with_these_files_alone(script: Path, tmp_path: Path) -> None:
    blobs = tmp_path / "hf" / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("1" * 64)).write_bytes(b"x")
    with (blobs / f"{'2' * 64}.incomplete").open("wb"):  # somebody writes it
        run = clean(script, tmp_path / "hf")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1] == "0 dead partial downloads, 0 bytes freed"
    assert f"left alone {blobs}/{'2' * 64}.incomplete: a process has it open" in run.stdout
    assert len(list(blobs.iterdir())) == 2


@pytest.mark.parametrize(("path", "said"), [("/etc", "path: /etc is not allowed"), ("hf", "path: hf is not absolute")])
def test_it_refuses_what_the_module_refuses(script: Path, path: str, said: str) -> None:
    run = clean(script, path)
    assert run.returncode == 1
    assert run.stderr.startswith(said)
    assert "Traceback" not in run.stderr
