# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The built collection holds what a user needs and nothing of whoever builds it, and runs from an empty controller."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from support.built import build, install
from support.paths import BIN, ROOT

HOLDS = {
    *("MANIFEST.json", "FILES.json", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
    *("catalog", "changelogs", "docs", "inventories", "meta", "playbooks", "plugins", "requirements.yml", "roles"),
    *("CODE_OF_CONDUCT.md", "SUPPORT.md", "site.yml"),
}
KINDS = {".css", ".j2", ".json", ".md", ".png", ".py", ".svg", ".txt", ".yaml", ".yml", ""}
# ansible-core brings them along.
WITH_ANSIBLE = {"ansible", "ansible_collections", "jinja2", "markupsafe", "yaml"}
# Runs in the image of vLLM, which has it.
IN_THE_IMAGE = "plugins/module_utils/_hf_transfer/download_client.py"
# What lies in the clone of somebody who uses it.
PRIVATE = (
    *(".env", ".vault-password", "inventories/mine/hosts.yml", "site.retry", "benchmarks/spark01/run.json"),
    *("collections/ansible_collections/a/b/README.md", ".venv/bin/python", "roles/vllm/.vault"),
)


@pytest.fixture(name="built", scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"), PRIVATE)


def test_it_holds_what_a_user_needs_and_nothing_else(built: Path) -> None:
    with tarfile.open(built) as archive:
        names = archive.getnames()
    assert {name.partition("/")[0] for name in names} == HOLDS
    assert not set(PRIVATE) & set(names)
    assert {Path(name).suffix for name in names} == KINDS
    assert not [name for name in names if {"tests", "molecule", "__pycache__"} & set(Path(name).parts)]
    environment = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text())
    for needed in (
        *environment["dependencies"].values(),
        "playbooks/site.yml",
        "catalog/models/qwen3-8b-fp8.yml",
        "roles/vllm/files/guard.py",
        "docs/troubleshooting.md",  # messages name it
    ):
        assert needed in names


def imported(file: Path) -> set[str]:
    tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    names = [
        name
        for node in tree
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    ]
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


def test_an_execution_environment_has_what_the_plugins_import() -> None:
    environment = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text())
    python = (ROOT / environment["dependencies"]["python"]).read_text(encoding="utf-8").splitlines()
    needed = {
        name for file in ROOT.glob("plugins/**/*.py") if file != ROOT / IN_THE_IMAGE for name in imported(file)
    } - WITH_ANSIBLE
    assert {line.partition(">=")[0] for line in python} == needed


def test_it_runs_from_an_empty_controller(built: Path, tmp_path: Path) -> None:
    """The first play of dgxspark.vllm.site checks the variables, and needs no host for that."""
    install(built, tmp_path)
    (tmp_path / "hosts.yml").write_text("spark: {hosts: {spark01: {ansible_connection: local, vllm_model: qwen3-9b}}}")
    run = subprocess.run(
        [BIN / "ansible-playbook", "dgxspark.vllm.site", "-i", "hosts.yml"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 2, run.stdout + run.stderr
    assert 'vllm_model: "qwen3-9b" is not in the catalog; did you mean qwen3-8b-fp8?' in " ".join(run.stdout.split())
