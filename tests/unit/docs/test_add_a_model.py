# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/guides/add-a-model.md, done word for word in a copy of this repository: its files written, its commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from unit.catalog.planned import plan

PAGE = (ROOT / "docs" / "guides" / "add-a-model.md").read_text(encoding="utf-8")
MODEL = "qwen3-14b-fp8"
COPIED = ["ansible.cfg", "catalog", "changelogs", "docs", "galaxy.yml", "inventories", "meta", "playbooks", "plugins"]
COPIED += ["pyproject.toml", "README.md", "roles", "site.yml", "tests/unit/catalog", "tools"]


class Step(t.NamedTuple):
    kind: str  # sh or yaml
    text: str
    path: str  # of a file that is to be written


def steps(heading: str) -> list[Step]:
    """The blocks of one section in their order. A file's name stands in the line above its block, in backticks."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    found = re.findall(r"(?:The file, `([^`]+)`:\n\n)?^```(sh|yaml)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [Step(kind, text, path) for path, kind, text in found]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository under the name that Ansible and Python know it by."""
    root = tmp_path_factory.mktemp("copy") / "ansible_collections" / "dgxspark" / "vllm"
    for name in COPIED:
        source = ROOT / name
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "mine"))
        else:
            shutil.copy(source, target)
    return root


def run_in(copy: Path, commands: str) -> subprocess.CompletedProcess[str]:
    collections = str(copy.parents[2])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTEST_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": collections,
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_HOME": str(copy.parents[2] / "home"),
    }
    return subprocess.run(
        ["bash", "-euc", commands],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


def follow(copy: Path, heading: str) -> list[str]:
    """Does every step, and returns what each command said."""
    said = []
    for step in steps(heading):
        if step.kind == "yaml":
            assert step.path, "a block of YAML without the name of its file"
            (copy / step.path).parent.mkdir(parents=True, exist_ok=True)
            (copy / step.path).write_text(step.text, encoding="utf-8")
            continue
        run = run_in(copy, step.text)
        assert run.returncode == 0, f"{step.text}\n{run.stdout}"
        said.append(run.stdout)
    return said


def test_for_yourself(copy: Path) -> None:
    _copied, checked, seen = follow(copy, "For yourself: in the inventory")
    assert re.search(r"problems.*\[\]", checked)
    assert "Qwen/Qwen3-14B-FP8" in seen
    assert "image_args" in seen
    own = yaml.safe_load((copy / "inventories/mine/group_vars/spark/models.yml").read_text())
    planned = list(plan(own))
    assert {item.model for item in planned} == {MODEL}
    assert {item.profile for item in planned} == {"throughput", "latency", "concurrency"}
    assert all(item.words[:2] == ["Qwen/Qwen3-14B-FP8", "--max-model-len"] for item in planned)


def test_for_everybody(copy: Path) -> None:
    (tested,) = follow(copy, "For everybody: in the collection")
    assert re.search(r"\d+ passed", tested)
    assert "failed" not in tested
    page = (copy / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"| [`{MODEL}`](#{MODEL}) | 16.33 GB | 32K, " in page
    assert "[Qwen/Qwen3-14B-FP8](https://huggingface.co/Qwen/Qwen3-14B-FP8)" in page


def test_a_figure_without_a_source_is_noticed(copy: Path) -> None:
    file = copy / "catalog/models" / f"{MODEL}.yml"
    file.write_text(f"{steps('For everybody: in the collection')[0].text}tokens_per_second: 12\n", encoding="utf-8")
    run = run_in(copy, f"pytest -q tests/unit/catalog/test_catalog_data.py -k {MODEL}")
    assert run.returncode == 1, run.stdout
    assert "no source: ['tokens_per_second']" in run.stdout


def test_the_page_names_what_is_required() -> None:
    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import MODEL_FIELDS

    table = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert table == [name for name, field in MODEL_FIELDS.items() if field.required]
